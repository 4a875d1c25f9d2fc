"""A service that OpenAI's client speaks to: one for many tests, with a sandbox behind it."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import DefaultHttpxClient, OpenAI
from openai.types import Batch

from tests.support.mill import Mill, Sandbox, Up, chat_line, heed_signals, sandbox, wait_until

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
CALLS_AT_A_TIME = 16
HUNG = CALLS_AT_A_TIME - 1
"""So few that some hung calls keep all others waiting; one of them is kept free for batches of high priority."""
WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosted:
    """A service, and OpenAI's client of it."""

    mill: Mill
    up: Up
    witness: Sandbox
    client: OpenAI

    @property
    def base_url(self) -> str:
        """What OpenAI's clients are given."""
        return f"{self.up.url}/v1"

    def submit(self, lines: Sequence[str | bytes], **options: Any) -> Batch:
        """Upload these lines and make a batch of them."""
        content = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
        file = self.client.files.create(file=("in.jsonl", content), purpose="batch")
        made = {"endpoint": CHAT, "completion_window": "24h"} | options
        return self.client.batches.create(input_file_id=file.id, **made)

    def awaited(self, batch: Batch, until: Callable[[Batch], bool] | None = None) -> Batch:
        """Poll a batch until it has ended, or something else is true of it."""
        is_there = until or (lambda batch: batch.status in ENDED)
        deadline = time.monotonic() + WITHIN_S
        while not is_there(batch):
            assert time.monotonic() < deadline, batch
            time.sleep(0.05)
            batch = self.client.batches.retrieve(batch.id)
        return batch

    def lines(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of a result file."""
        assert file_id is not None
        return [json.loads(line) for line in self.client.files.content(file_id).text.splitlines()]

    def stuck(self, answered: int) -> Batch:
        """A batch in progress: so many lines are answered, as many hang as may, and two wait behind those."""
        tag = time.monotonic_ns()
        fast = [chat_line(f"fast {n}", f"{tag} {n}") for n in range(answered)]
        hung = [chat_line(f"hung {n}", f"{tag} {n}", model="sandbox/hang") for n in range(HUNG + 2)]
        before = len(self.witness.calls())
        batch = self.awaited(
            self.submit([*fast, *hung]),
            lambda batch: batch.request_counts is not None and batch.request_counts.completed == answered,
        )
        wait_until(lambda: len(self.witness.calls()) == before + answered + HUNG, WITHIN_S)
        return batch


@contextmanager
def hosted(folder: Path) -> Iterator[Hosted]:
    """`batchmill up` with a sandbox, for as long as the context lasts."""
    heed_signals()
    with closing(Mill(folder=folder)) as mill, sandbox(folder) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        with (
            mill.up("--concurrency", str(CALLS_AT_A_TIME)) as up,
            OpenAI(base_url=f"{up.url}/v1", api_key="any") as client,
        ):
            yield Hosted(mill=mill, up=up, witness=witness, client=client)


@contextmanager
def counting(base_url: str) -> Iterator[tuple[OpenAI, list[str]]]:
    """A client, and the requests that it has sent so far."""
    sent: list[str] = []

    def note(request: Any) -> None:
        sent.append(f"{request.method} {request.url.path}")

    with (
        DefaultHttpxClient(event_hooks={"request": [note]}) as transport,
        OpenAI(base_url=base_url, api_key="any", http_client=transport) as client,
    ):
        yield client, sent
