"""Whom a batch waits for: told by the database alone, whoever looks."""

from collections.abc import Sequence
from typing import Any

import pytest

from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.requests.model import BatchState
from batchmill.routing.circuits import Cause, CircuitRules
from batchmill.routing.names import Target
from batchmill.routing.path import Step, What
from batchmill.routing.wants import Wants, dump_wants
from db import batches, catalogue, paths
from db.engine import Database
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch
from tests.support.replies import FAULTY
from workers.waiting import Waiting, waited_for

MODEL, OTHER = Target(provider="openai", model="gpt-4o-mini"), Target(provider="local", model="llama3.3")
QUICK = CircuitRules(threshold=1, failing_ms=60_000)


def broken(database: Database, lines: int = 2, **options: Any) -> tuple[Worker, int]:
    """A batch whose first line has failed, which has opened the circuit of its model; the others are in hand."""
    batch = add_batch(database, lines, **options)
    worker = Worker(database, rules=QUICK)
    first, *_ = worker.take()
    worker.answer(FAULTY, first)
    return worker, batch


def looked_at(database: Database, batch: int) -> Waiting:
    """Whom it waits for now."""
    with database.read() as tx:
        row = batches.rows(tx, [batch])[batch]
    return waited_for(database, row)


def names(waiting: Waiting) -> Sequence[str]:
    return [resting.target.name for resting in waiting.resting]


def test_a_batch_whose_only_model_rests(database: Database) -> None:
    """It is named with why, and there is nothing else to do; both the line in hand and that to come are looked at."""
    _, batch = broken(database)
    waiting = looked_at(database, batch)
    assert (names(waiting), waiting.is_all) == ([MODEL.name], True)
    assert waiting.resting[0].cause is Cause.FAILING
    assert f"{MODEL.name} rests for" in waiting.in_words


def test_waiting_is_in_vain_for_those_who_failed_since(database: Database, clock: FakeClock) -> None:
    """Who began after the model had failed has not tried it yet: it waits until it has."""
    before_ms = database.now_ms()
    _, batch = broken(database)
    waiting = looked_at(database, batch)
    assert waiting.is_in_vain(before_ms)
    clock.advance(1)
    assert not waiting.is_in_vain(database.now_ms())


def test_nobody_is_waited_for_when_its_time_is_over(database: Database, clock: FakeClock) -> None:
    """From then on a call goes out, to see whether it is back."""
    _, batch = broken(database)
    clock.advance(QUICK.failing_ms)
    assert looked_at(database, batch) == Waiting()


def test_a_batch_that_does_not_run(database: Database) -> None:
    """What stands still waits for somebody else."""
    _, batch = broken(database)
    with database.write() as tx:
        batches.pause(tx, batch, "paused by hand")
        assert batches.rows(tx, [batch])[batch].state == BatchState.PAUSED
    assert looked_at(database, batch) == Waiting()


def test_a_batch_that_has_ended_or_not_begun(database: Database) -> None:
    """None of its lines is in hand or to come: it waits for no model, whoever rests."""
    broken(database)
    assert looked_at(database, add_batch(database, 2)) == Waiting(now_ms=database.now_ms())


@pytest.mark.parametrize("whose", ["batch", "catalogue"])
def test_a_line_with_a_fallback_does_not_wait(database: Database, clock: FakeClock, whose: str) -> None:
    """As long as somebody stands by whose circuit is closed; once that one is out, it does."""
    routing = dump_wants(Wants(fallback=(OTHER,))) if whose == "batch" else ""
    worker, batch = broken(database, 1, routing=routing)
    if whose == "catalogue":
        with database.write() as tx:
            entry = ModelEntry(provider=MODEL.provider, model=MODEL.model, tier=Tier.CHEAP, fallback=(OTHER,))
            catalogue.add(tx, entry)
    assert not looked_at(database, batch).resting
    clock.advance(QUICK.failing_ms // 2)
    [job] = worker.take()
    job.note(Step(target=OTHER, what=What.REJECTED, why="no key", at_ms=database.now_ms()))
    with database.write() as tx:
        paths.put(tx, [job])
    assert names(looked_at(database, batch)) == [MODEL.name]
