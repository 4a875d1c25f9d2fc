"""`batchmill serve` by itself: nobody else is there to put right what dies."""

import json
import os
import signal
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.support.mill import Mill, sandbox, wait_until

NOTICED_WITHIN_S = 30.0


def ask(url: str) -> None:
    """A chat completion, for a caller who may not live to see it."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"content-type": "application/json", "authorization": "Bearer any"}
    asked = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with suppress(OSError), urllib.request.urlopen(asked, timeout=60):
        pass


def test_a_call_of_a_front_that_was_killed_is_on_the_books(mill: Mill, tmp_path: Path) -> None:
    """A front is killed with a call out, and there is no worker: the call is soon unknown, another front answers."""
    with sandbox(tmp_path, "--latency", "60") as provider:
        mill.environ["OPENAI_BASE_URL"] = provider.url
        with mill.up(command="serve") as up:
            caller = threading.Thread(target=ask, args=(up.url,))
            caller.start()
            wait_until(lambda: len(provider.calls()) == 1, NOTICED_WITHIN_S)
            for pid in mill.fronts():
                os.kill(pid, signal.SIGKILL)
            caller.join()
            states = "SELECT state, error FROM attempts"
            wait_until(lambda: mill.query(states) == [("unknown", "worker_lost")], NOTICED_WITHIN_S)
            with urllib.request.urlopen(f"{up.url}/health/live", timeout=NOTICED_WITHIN_S) as answer:
                assert answer.status == 200
    assert len(provider.calls()) == 1
