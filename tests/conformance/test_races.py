"""Two transactions at the same time, held where they meet; on PostgreSQL, where that is possible."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from batchmill.requests.model import BatchState, Lane, RequestState
from db import batches, claims, requests, settle, sweep
from db.cache_contents import Choice, drop
from db.cache_drops import Dropped, Pace
from db.engine import Database
from db.settle import Work
from tests.support.audit import audit
from tests.support.hands import Worker, add_batch, answer_late, states_of
from tests.support.mill import wait_until
from tests.support.replies import ANSWERED, CUT_SHORT
from tests.support.servers import on_postgresql

CANCELLED, DONE = RequestState.CANCELLED, RequestState.DONE

pytestmark = on_postgresql


def somebody_waits(database: Database) -> bool:
    """Whether a connection waits for another one's lock."""
    with database.read() as tx:
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(tx.rows(text(waiting)))


def test_cancelled_while_being_answered(database: Database) -> None:
    """A line that is just being answered is not ended by a cancellation: it is skipped, and stays answered."""
    batch = add_batch(database, ["same", "same", None])
    worker = Worker(database)
    (attempt,) = worker.send(*worker.take(2))
    with database.write() as tx:
        batches.cancel(tx, batch)
    with ThreadPoolExecutor(1) as thread:
        with database.write() as tx:
            settle.write(tx, Work(outcomes=[worker.judge.judge(attempt, ANSWERED)]), worker.id)
            ending = thread.submit(sweep.end_idle, database, batch, BatchState.CANCELLED)
            wait_until(
                lambda: somebody_waits(database), 10
            )  # with the counters, for it did not wait for the lines
        ending.result(10)
    assert states_of(database, batch) == [DONE, DONE, CANCELLED]
    audit(database)


def test_promoted_while_being_cancelled(database: Database) -> None:
    """A follower that is just being cancelled is not woken to lead; the one after it is."""
    first, second = add_batch(database, ["same"]), add_batch(database, ["same"])
    third = add_batch(database, ["same"])
    worker = Worker(database)
    (attempt,) = worker.send(*worker.take())
    assert attempt.job.batch.id == first
    with ThreadPoolExecutor(1) as thread:
        with database.write() as tx:
            assert requests.end_idle(tx, *requests.span(second), CANCELLED) == 1
            settling = thread.submit(worker.settle, (attempt, CUT_SHORT))
            wait_until(lambda: somebody_waits(database), 10)
            tx.run(text("UPDATE batches SET state = 'cancelling' WHERE id = :id"), id=second)
            batches.count(tx, {second: {CANCELLED.value: 1}})
        settling.result(10)
    audit(database)
    assert states_of(database, second) == [CANCELLED]
    assert [job.batch.id for job in worker.take()] == [third]


def everything(database: Database) -> Choice:
    """Every entry of the cache."""
    return Choice(made_by_ms=database.now_ms())


@pytest.mark.parametrize("comes_back", [False, True])
def test_answer_deleted_while_it_is_being_used(database: Database, comes_back: bool) -> None:
    """A look-up has found an entry; before it is done the entry goes, and its answer. It looks again, and asks: no
    line points to an answer that is not there; nor when another answer has meanwhile taken the place of that one."""
    batch = add_batch(database, ["same"])
    worker, other = Worker(database), Worker(database)
    jobs = worker.claim()
    answer_late(database, "same")
    with ThreadPoolExecutor(1) as thread:
        with database.write() as tx:
            tx.rows(text("SELECT 1 FROM requests WHERE id = :id FOR UPDATE"), id=jobs[0].request_id)
            looking_up = thread.submit(worker.look_up, jobs)
            wait_until(lambda: somebody_waits(database), 10)  # it has found the entry, and is about to use it
            assert drop(database, everything(database)) == Dropped(
                entries=1, answers=1, answer_bytes=len(ANSWERED.body or b"")
            )
            if comes_back:
                add_batch(database, ["same"], lane=Lane.HIGH)
                other.answer(ANSWERED, *other.take())
        leaders = looking_up.result(30)
    assert (leaders == []) is comes_back
    audit(database)
    worker.answer(ANSWERED, *leaders)
    assert states_of(database, batch) == [DONE]
    audit(database)


def test_entry_in_use_is_left_alone(database: Database) -> None:
    """An entry that a transaction has just used, and not yet said so, is passed over; afterwards its answer stays."""
    batch = add_batch(database, ["same"])
    worker = Worker(database)
    jobs = worker.claim()
    answer_late(database, "same")
    with database.write() as tx:
        settle.write(tx, Work(look_ups=jobs, open={jobs[0].claim_id: 1}), worker.id)
        assert drop(database, everything(database), Pace(lambda _: None)) == Dropped()
    assert drop(database, everything(database)) == Dropped(entries=1)
    assert states_of(database, batch) == [DONE]
    audit(database)


def test_entry_that_a_claim_uses_is_left_alone(database: Database) -> None:
    """The same for a line that is answered as it is claimed."""
    answer_late(database, "same")
    batch = add_batch(database, ["same"])
    with database.write() as tx:
        assert claims.take(tx, worker_id="w", room={Lane.NORMAL: 1}, lease_ms=1).answered == 1
        assert drop(database, everything(database), Pace(lambda _: None)) == Dropped()
    assert drop(database, everything(database)) == Dropped(entries=1)
    assert states_of(database, batch) == [DONE]
    audit(database)


def test_entry_that_is_being_dropped_answers_nobody(database: Database) -> None:
    """A claim that meets an entry on its way out leaves its line to the look-up, which asks anew."""
    answer_late(database, "same")
    batch = add_batch(database, ["same"])
    worker = Worker(database)
    with database.write() as tx:
        tx.run(text("DELETE FROM cache_entries"))
        with ThreadPoolExecutor(1) as thread:
            (job,) = thread.submit(worker.claim).result(30)
    assert worker.look_up([job]) == [job]
    assert states_of(database, batch) == [RequestState.CLAIMED]
    audit(database)
