"""BATCHMILL_REDACT_ANSWERS: what is somebody's in an answer is written down nowhere."""

import sys
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from sqlalchemy import select

from batchmill.errors import SettingsError
from batchmill.sandbox.app import Behaviour
from batchmill.settings import load_settings
from db.tables import answers
from tests.support.direct import Place, served
from workers.assembly import make_judge, make_redaction

ASKED = ("Who writes?", "And who else?")
REPLY = "Write to anna@example.com, or call +49 30 901820."
KEPT = "Write to [EMAIL_1], or call [PHONE_1]."


def question(text: str) -> dict[str, Any]:
    """A chat that asks so."""
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}


def test_what_is_kept_and_what_passes_through(tmp_path: Path) -> None:
    """A whole answer comes redacted, also from the cache; a stream passes as it is, and is kept redacted."""

    async def use(url: str, here: Place) -> None:
        async with AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
            for _ in range(2):
                whole = await client.chat.completions.create(**question(ASKED[0]))
                assert whole.choices[0].message.content == KEPT
            pieces = await client.chat.completions.create(**question(ASKED[1]), stream=True)
            assert "".join([piece.choices[0].delta.content or "" async for piece in pieces]) == REPLY
            again = await client.chat.completions.create(**question(ASKED[1]))
            assert again.choices[0].message.content == KEPT

    replies = dict.fromkeys(ASKED, REPLY)
    here = served(
        use,
        f"sqlite:///{tmp_path / 'mill.db'}",
        tmp_path,
        Behaviour(replies=replies),
        BATCHMILL_REDACT_ANSWERS="true",
    )
    assert len(here.calls()) == 2
    kept = [row.body for row in here.rows(select(answers.c.body))]
    assert len(kept) == 2
    assert not [body for body in kept if "anna" in body or "901820" in body]


def test_wanted_and_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts is told at once, with the way out; nothing is answered unredacted."""

    monkeypatch.setitem(sys.modules, "batchmill.pii.patterns", None)
    settings = load_settings({"BATCHMILL_REDACT_ANSWERS": "true"}, None)
    with pytest.raises(SettingsError):
        make_judge(settings)
    assert make_redaction(load_settings({}, None)) is None
