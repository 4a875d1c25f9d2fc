"""Webhooks as producers ask for them over HTTP."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.sites import Answer, Site, served
from workers.serving.keys import Scope

SECRET = {"BATCHMILL_WEBHOOK_SECRET": base64.b64encode(bytes(32)).decode()}
INSIDE = "http://127.0.0.1:9/hooks?token=s3cret"


def create(site: Site, **more: Any) -> Answer:
    """Ask for a batch."""
    key = site.service.keyring.create("acme", Scope.PRODUCER)[1]
    wanted = {"input_file_id": site.make_file(key), "endpoint": "/v1/chat/completions"}
    body = json.dumps({**wanted, "completion_window": "24h", **more}).encode()
    return site.ask("POST", "/v1/batches", key, body)


@pytest.mark.parametrize(
    ("environ", "told"),
    [(SECRET, "not on the public internet"), ({}, "BATCHMILL_WEBHOOK_SECRET is not set")],
)
def test_what_must_not_be_called(tmp_path: Path, environ: dict[str, str], told: str) -> None:
    """It is refused before there is a batch, without a word of what the URL may hide."""
    with served(tmp_path, **environ) as site:
        answer = create(site, webhook_url=INSIDE)
        with site.service.database.read() as tx:
            assert tx.connection.exec_driver_sql("SELECT count(*) FROM batches").scalar() == 0
    assert answer.status == 400
    assert (answer.error["param"], answer.error["code"]) == ("webhook_url", "invalid_value")
    assert told in answer.error["message"]
    assert "s3cret" not in answer.body


@pytest.mark.parametrize(
    "options", [{"BATCHMILL_WEBHOOKS_TO_PRIVATE": "true"}, {"wants_keys": False}], ids=["allowed", "keyless"]
)
def test_what_may_be_called(tmp_path: Path, options: dict[str, Any]) -> None:
    """Addresses inside where the owner says so, or where nobody but this machine's user calls."""
    with served(tmp_path, **SECRET, **options) as site:
        answer = create(site, webhook_url=INSIDE)
        without = create(site)
    shown = json.loads(answer.body)["webhook"]
    assert shown == {"url": INSIDE, "state": "waiting", "tries": 0, "error": None}
    assert json.loads(without.body)["webhook"] is None
