"""Two transactions at the same time, held where they meet; on PostgreSQL, where that is possible."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from batchmill.requests.model import BatchState, Lane, OnUnknown, RequestState
from db import batches, claims, requests, settle, sweep
from db.cache_contents import Choice, Dropped, drop
from db.engine import Database
from db.settle import Work
from tests.support.audit import audit
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, states_of
from tests.support.mill import wait_until
from tests.support.replies import ANSWERED, CUT_SHORT, UNKNOWN
from tests.support.servers import PostgresCluster

CANCELLED, DONE = RequestState.CANCELLED, RequestState.DONE


@pytest.fixture
def shared(postgres: PostgresCluster, clock: FakeClock) -> Iterator[Database]:
    """A database on PostgreSQL."""
    url = postgres.create()
    database = Database(url, clock=clock)
    yield database
    database.close()
    postgres.drop(url)


def somebody_waits(database: Database) -> bool:
    """Whether a connection waits for another one's lock."""
    with database.read() as tx:
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(tx.rows(text(waiting)))


def test_cancelled_while_being_answered(shared: Database) -> None:
    """A line that is just being answered is not ended by a cancellation: it is skipped, and stays answered."""
    batch = add_batch(shared, ["same", "same", None])
    worker = Worker(shared)
    (attempt,) = worker.send(*worker.take(2))
    with shared.write() as tx:
        batches.cancel(tx, batch)
    with ThreadPoolExecutor(1) as thread:
        with shared.write() as tx:
            settle.write(tx, Work(outcomes=[worker.judge.judge(attempt, ANSWERED)]), worker.id)
            ending = thread.submit(sweep.end_idle, shared, batch, BatchState.CANCELLED)
            wait_until(
                lambda: somebody_waits(shared), 10
            )  # with the counters, for it did not wait for the lines
        ending.result(10)
    assert states_of(shared, batch) == [DONE, DONE, CANCELLED]
    audit(shared)


def test_promoted_while_being_cancelled(shared: Database) -> None:
    """A follower that is just being cancelled is not woken to lead; the one after it is."""
    first, second = add_batch(shared, ["same"]), add_batch(shared, ["same"])
    third = add_batch(shared, ["same"])
    worker = Worker(shared)
    (attempt,) = worker.send(*worker.take())
    assert attempt.job.batch.id == first
    with ThreadPoolExecutor(1) as thread:
        with shared.write() as tx:
            assert requests.end_idle(tx, *requests.span(second), CANCELLED) == 1
            settling = thread.submit(worker.settle, (attempt, CUT_SHORT))
            wait_until(lambda: somebody_waits(shared), 10)
            tx.run(text("UPDATE batches SET state = 'cancelling' WHERE id = :id"), id=second)
            batches.count(tx, {second: {CANCELLED.value: 1}})
        settling.result(10)
    audit(shared)
    assert states_of(shared, second) == [CANCELLED]
    assert [job.batch.id for job in worker.take()] == [third]


def late_answer(database: Database) -> None:
    """An entry for the question "same" whose answer nothing else points to."""
    worker = Worker(database)
    add_batch(database, ["same"], on_unknown=OnUnknown.FAIL)
    (attempt,) = worker.send(*worker.take())
    worker.settle((attempt, UNKNOWN))
    worker.settle((attempt, ANSWERED))


def everything(database: Database) -> Choice:
    """Every entry of the cache."""
    return Choice(made_by_ms=database.now_ms())


@pytest.mark.parametrize("comes_back", [False, True])
def test_answer_deleted_while_it_is_being_used(shared: Database, comes_back: bool) -> None:
    """A look-up has found an entry; before it is done the entry goes, and its answer. It looks again, and asks: no
    line points to an answer that is not there; nor when another answer has meanwhile taken the place of that one."""
    batch = add_batch(shared, ["same"])
    worker, other = Worker(shared), Worker(shared)
    jobs = worker.claim()
    late_answer(shared)
    with ThreadPoolExecutor(1) as thread:
        with shared.write() as tx:
            tx.rows(text("SELECT 1 FROM requests WHERE id = :id FOR UPDATE"), id=jobs[0].request_id)
            looking_up = thread.submit(worker.look_up, jobs)
            wait_until(lambda: somebody_waits(shared), 10)  # it has found the entry, and is about to use it
            assert drop(shared, everything(shared)) == Dropped(
                entries=1, answers=1, answer_bytes=len(ANSWERED.body or b"")
            )
            if comes_back:
                add_batch(shared, ["same"], lane=Lane.HIGH)
                other.answer(ANSWERED, *other.take())
        leaders = looking_up.result(30)
    assert (leaders == []) is comes_back
    audit(shared)
    worker.answer(ANSWERED, *leaders)
    assert states_of(shared, batch) == [DONE]
    audit(shared)


def test_entry_in_use_is_left_alone(shared: Database) -> None:
    """An entry that a transaction has just used, and not yet said so, is passed over; afterwards its answer stays."""
    batch = add_batch(shared, ["same"])
    worker = Worker(shared)
    jobs = worker.claim()
    late_answer(shared)
    with shared.write() as tx:
        settle.write(tx, Work(look_ups=jobs, open={jobs[0].claim_id: 1}), worker.id)
        assert drop(shared, everything(shared), pause=lambda _: None) == Dropped()
    assert drop(shared, everything(shared)) == Dropped(entries=1)
    assert states_of(shared, batch) == [DONE]
    audit(shared)


def test_entry_that_a_claim_uses_is_left_alone(shared: Database) -> None:
    """The same for a line that is answered as it is claimed."""
    late_answer(shared)
    batch = add_batch(shared, ["same"])
    with shared.write() as tx:
        assert claims.take(tx, worker_id="w", room={Lane.NORMAL: 1}, lease_ms=1).answered == 1
        assert drop(shared, everything(shared), pause=lambda _: None) == Dropped()
    assert drop(shared, everything(shared)) == Dropped(entries=1)
    assert states_of(shared, batch) == [DONE]
    audit(shared)


def test_entry_that_is_being_dropped_answers_nobody(shared: Database) -> None:
    """A claim that meets an entry on its way out leaves its line to the look-up, which asks anew."""
    late_answer(shared)
    batch = add_batch(shared, ["same"])
    worker = Worker(shared)
    with shared.write() as tx:
        tx.run(text("DELETE FROM cache_entries"))
        with ThreadPoolExecutor(1) as thread:
            (job,) = thread.submit(worker.claim).result(30)
    assert worker.look_up([job]) == [job]
    assert states_of(shared, batch) == [RequestState.CLAIMED]
    audit(shared)
