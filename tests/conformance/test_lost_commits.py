"""A commit whose acknowledgement is lost: done once, and known to be done."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from batchmill.errors import DatabaseError
from batchmill.requests.model import BatchState, Lane
from batchmill.requests.work import Attempt
from db import sweep
from db.engine import Database
from db.journal import Journal
from tests.support.audit import audit
from tests.support.budgets import add_budget, amounts_of
from tests.support.clocks import FakeClock
from tests.support.hands import LEASE_MS, Worker, add_batch, batch_of, send_of
from tests.support.replies import ANSWERED, PRICE_NANOS, make_judge
from tests.support.servers import PostgresCluster
from tests.support.wire import Wire, wire_to

STEPS = ["claim", "look-up", "send", "settle", "hand-back"]
ROOM = {Lane.NORMAL: 3}


@pytest.fixture
def wired(postgres: PostgresCluster, clock: FakeClock) -> Iterator[tuple[Wire, Database]]:
    """A database on PostgreSQL whose wire can be cut."""
    url = postgres.create()
    with tempfile.TemporaryDirectory(prefix="batchmill-wire-") as folder, wire_to(url, Path(folder)) as wired:
        wire, through = wired
        database = Database(through, clock=clock)
        yield wire, database
        database.close()
    postgres.drop(url)


async def work(wire: Wire, database: Database, step: str, how: str) -> None:
    """Claim three requests, answer them all but one, give that one back; cut the wire at one step."""

    def cut_at(names: tuple[str, ...]) -> None:
        if step in names:
            wire.skip = int(step == "look-up")
            setattr(wire, how, 1)

    journal, judge = Journal(database, "worker", lease_ms=LEASE_MS), make_judge()
    async with journal.open():
        cut_at(("claim", "look-up"))
        taken, jobs = await journal.claim(ROOM)
        assert taken == 3
        cut_at(("send",))
        sends = [send_of(job, 2 * PRICE_NANOS) for job in jobs[:-1]]
        sent = await asyncio.gather(*(journal.send(send) for send in sends))
        cut_at(("settle",))
        await asyncio.gather(
            *(
                journal.settle(judge.judge(attempt, ANSWERED))
                for attempt in sent
                if isinstance(attempt, Attempt)
            )
        )
        assert all(isinstance(attempt, Attempt) for attempt in sent)
        cut_at(("hand-back",))
        await journal.hand_back(jobs[-1])
        assert await journal.renew() == set()


@pytest.mark.parametrize("how", ["cut_after", "cut_before"])
@pytest.mark.parametrize("step", STEPS)
def test_connection_dies_during_commit(wired: tuple[Wire, Database], step: str, how: str) -> None:
    """Whatever was being written, and whether or not the server has it: it is written once, held and charged once, and
    nothing is left over."""
    wire, database = wired
    budget = add_budget(database, 10 * PRICE_NANOS)
    batch = add_batch(database, ["same", "same", None])
    asyncio.run(work(wire, database, step, how))
    assert (batch_of(database, batch).calls, batch_of(database, batch).done) == (1, 2)
    assert (wire.cut_after, wire.cut_before) == (0, 0)
    assert amounts_of(database, budget) == (PRICE_NANOS, 0)
    assert audit(database).claims == {}


@pytest.mark.parametrize("how", ["cut_after", "cut_before"])
def test_connection_dies_while_the_cache_answers(wired: tuple[Wire, Database], how: str) -> None:
    """Lines that are answered as they are claimed are answered, entered and counted once, whatever became of the
    commit."""
    wire, database = wired
    add_batch(database, ["known"])
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take())
    batch = add_batch(database, ["known"] * 5)
    setattr(wire, how, 1)
    assert worker.claim() == []
    assert (wire.cut_after, wire.cut_before) == (0, 0)
    row = batch_of(database, batch)
    assert (row.state, row.done, row.cached) == (BatchState.FINALIZING, 5, 5)
    with database.read() as tx:
        assert tx.rows(text("SELECT usage_count FROM cache_entries"))[0][0] == 5
    assert audit(database).claims == {}


def test_a_commit_that_hangs_is_not_waited_for_without_end(postgres: PostgresCluster) -> None:
    """A server that keeps the transaction of a connection long gone is given up, with what to do about it."""
    url = postgres.create()
    database, other = Database(url), Database(url)
    with other.write() as tx:
        ticket = tx.rows(text("SELECT CAST(pg_current_xact_id() AS text)"))[0][0]
        with pytest.raises(DatabaseError, match="whose connection is gone") as caught:
            database._is_committed(ticket, 0.1)
    assert "pg_stat_activity" in caught.value.hint
    database.close()
    other.close()
    postgres.drop(url)


def test_server_restarts_under_a_worker(postgres: PostgresCluster, clock: FakeClock) -> None:
    """Every connection ended at once is a hiccup: the worker goes on, nothing is lost or done twice."""
    url = postgres.create()
    database = Database(url, clock=clock)
    batch = add_batch(database, 6)

    async def answer_all() -> None:
        journal, judge = Journal(database, "worker", lease_ms=LEASE_MS), make_judge()
        async with journal.open():
            for _ in range(2):
                _, jobs = await journal.claim(ROOM)
                for job in jobs:
                    attempt = await journal.send(send_of(job))
                    postgres.kill_connections(url)
                    assert isinstance(attempt, Attempt)
                    await journal.settle(judge.judge(attempt, ANSWERED))

    asyncio.run(answer_all())
    sweep.sweep(database, make_judge(), "test")
    row = batch_of(database, batch)
    assert (row.state, row.done, row.calls) == (BatchState.COMPLETED, 6, 6)
    audit(database)
    database.close()
    postgres.drop(url)
