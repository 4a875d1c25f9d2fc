"""The provider's log of calls, held against our books."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from batchmill.errors import InputError
from batchmill.findings import Finding, Level
from batchmill.requests.ids import client_request_id
from db.engine import Database
from tests.support.hands import Worker, add_batch, batch_of
from tests.support.replies import ANSWERED, PRICE_NANOS, UNKNOWN
from workers.witness import CALLS_A_STEP, compare


def call(name: str, cost_nanos: int = PRICE_NANOS, model: str = "gpt-4o-mini") -> dict[str, Any]:
    """A line of the log."""
    return {"client_request_id": name, "model": model, "cost_nanos": cost_nanos, "outcome": 200}


def held_against(database: Database, folder: Path, calls: Sequence[dict[str, Any]]) -> dict[str, Finding]:
    """What comes of the comparison, by check."""
    log = folder / "calls.jsonl"
    log.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in calls))
    return {finding.check: finding for finding in compare(database, log)}


def failures(found: dict[str, Finding]) -> set[str]:
    """The checks that failed."""
    return {check for check, finding in found.items() if finding.level is Level.FAILURE}


@pytest.fixture
def calls(database: Database) -> list[dict[str, Any]]:
    """The calls of a batch: three answered, one lost, one under way."""
    batch = add_batch(database, 5)
    worker = Worker(database)
    sent = worker.send(*worker.take())
    worker.settle(*((attempt, ANSWERED) for attempt in sent[:3]), (sent[3], UNKNOWN))
    name = batch_of(database, batch).public_id
    return [call(client_request_id(name, attempt.job.request_id, 1)) for attempt in sent]


def test_books_that_agree(database: Database, tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    """All recorded, each once, and the bill is the ledger's and what is open."""
    found = held_against(database, tmp_path, calls)
    assert failures(found) == set()
    assert found["witness-bill"].message == (
        "the provider charged $0.000003 for calls of known cost, the books say $0.000003;"
        " $0.000002 more are for calls whose cost is not known"
    )


@pytest.mark.parametrize("name", ["/2", "_9/1", "batch_req_abc_1/1"])
def test_call_that_nobody_recorded(
    database: Database, tmp_path: Path, calls: list[dict[str, Any]], name: str
) -> None:
    """Another attempt, another line, another batch: a call without a row is named."""
    known: str = calls[0]["client_request_id"]
    names = {"/2": known.replace("/1", "/2"), "_9/1": known.replace("_1/1", "_9/1")}
    found = held_against(database, tmp_path, [*calls, call(names.get(name, name))])
    assert failures(found) == {"witness-recorded"}
    assert len(found["witness-recorded"].examples) == 1


def test_call_that_was_made_twice(database: Database, tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    """Whether the two are far apart in the log or not."""
    others = [call("") for _ in range(CALLS_A_STEP)]
    for log in ([*calls, calls[0]], [*calls, *others, calls[4]]):
        assert failures(held_against(database, tmp_path, log)) == {"witness-once"}


@pytest.mark.parametrize("difference", [-1, 1])
def test_bill_that_differs(
    database: Database, tmp_path: Path, calls: list[dict[str, Any]], difference: int
) -> None:
    """By a nano-dollar, either way; the model is named."""
    calls[0]["cost_nanos"] += difference
    found = held_against(database, tmp_path, calls)
    assert failures(found) == {"witness-bill"}
    assert found["witness-bill"].examples[0].detail.startswith("gpt-4o-mini: charged")


def test_calls_of_others_are_told(database: Database, tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    """Somebody with the same provider and no batch is no breach."""
    found = held_against(database, tmp_path, [call("curl"), *calls])
    assert found["witness-others"].level is Level.WARNING
    assert "1 of 6" in found["witness-others"].message
    assert failures(found) == set()


def test_line_that_is_being_written(database: Database, tmp_path: Path, calls: list[dict[str, Any]]) -> None:
    """Its end is not there yet: it is left for the next time."""
    log = tmp_path / "log"
    log.write_bytes(orjson.dumps(calls[0]) + b"\n" + b'{"client_requ')
    assert all(finding.level is Level.OK for finding in compare(database, log))


@pytest.mark.parametrize("line", [b"hello\n", b"[]\n", b'{"model": 1}\n', b"\xff\n", b"x" * 1_000_001])
def test_file_that_is_no_log(database: Database, tmp_path: Path, line: bytes) -> None:
    """File and line are named."""
    log = tmp_path / "log"
    log.write_bytes(line)
    with pytest.raises(InputError, match="line 1"):
        list(compare(database, log))
