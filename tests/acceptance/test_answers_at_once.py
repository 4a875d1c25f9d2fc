"""`batchmill serve` answers single requests: the official client against the installed command."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from openai import OpenAI

from tests.support.mill import Mill, sandbox, wait_until


@contextmanager
def serving(mill: Mill, sandbox_url: str) -> Iterator[str]:
    """A service of that installation; its address."""
    mill.environ |= {"OPENAI_BASE_URL": sandbox_url, "OPENAI_API_KEY": "sk-test-0123456789"}
    process = mill.start("serve", "--port", "0")
    notice = mill.home / "run" / "service.json"
    wait_until(lambda: notice.exists() or process.poll() is not None, 60)
    assert process.poll() is None, process.stderr.read() if process.stderr else ""
    yield f"{json.loads(notice.read_text())['url']}/v1"
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def ask(url: str, text: str, model: str = "gpt-4o-mini") -> str:
    """What the official client is answered."""
    with OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        pieces = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": text}], stream=True
        )
        return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)


def test_a_service_answers_at_once_and_remembers(mill: Mill) -> None:
    """The same question is paid for once, and what was spent is in the books."""
    with sandbox(mill.folder) as provider, serving(mill, provider.url) as url:
        assert ask(url, "hello") == ask(url, "hello")
        assert len(provider.calls()) == 1
    assert mill.query("SELECT state, count(*) FROM batches WHERE is_direct GROUP BY state") == [
        ("completed", 2)
    ]
    assert mill.query("SELECT count(*) FROM workers") == [(0,)]


def test_a_service_that_is_stopped_finishes_what_it_answers(mill: Mill) -> None:
    """SIGTERM while a call is out: its caller has the whole answer, and nothing is left behind."""
    heard: list[str] = []
    with sandbox(mill.folder, "--latency", "1") as provider:
        with serving(mill, provider.url) as url:
            caller = threading.Thread(target=lambda: heard.append(ask(url, "hello")))
            caller.start()
            wait_until(lambda: bool(provider.calls()), 60)
        caller.join(60)
    assert heard
    assert "sandbox" in heard[0]
    assert mill.query("SELECT state FROM attempts") == [("settled",)]
    assert mill.query("SELECT count(*) FROM claims") == [(0,)]
