"""Single flight: one question asked once at a time, and nobody who waits is forgotten."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from batchmill.providers.base import Reply
from batchmill.requests.model import BatchState, CacheMode, RequestState
from db import batches, sweep
from db.engine import Database
from db.tables import cache_entries
from tests.support.audit import audit
from tests.support.clocks import FakeClock
from tests.support.hands import LEASE_MS, Worker, add_batch, attempts_of, batch_of, ledger_of, states_of
from tests.support.replies import (
    ANSWERED,
    CUT_SHORT,
    FAULTY,
    PRICE_NANOS,
    REFUSED,
    THROTTLED,
    UNKNOWN,
    make_judge,
)

DONE, FAILED, PENDING, WAITING = (
    RequestState.DONE,
    RequestState.FAILED,
    RequestState.PENDING,
    RequestState.WAITING,
)


def test_same_question_within_a_claim(database: Database) -> None:
    """The first line asks; the others get its answer, for nothing."""
    batch = add_batch(database, ["same"] * 5)
    worker = Worker(database)
    leaders = worker.take()
    assert len(leaders) == 1
    worker.answer(ANSWERED, *leaders)
    row = batch_of(database, batch)
    assert (row.state, row.done, row.calls, row.cached) == (BatchState.FINALIZING, 5, 1, 4)
    assert ledger_of(database, batch) == [("call", PRICE_NANOS)] + [("hit", 0)] * 4
    audit(database)


def test_same_question_in_another_claim(database: Database) -> None:
    """Whoever comes while the question is being asked waits, and is answered with it."""
    batch = add_batch(database, ["same"] * 4)
    one, other = Worker(database), Worker(database)
    leaders = one.take(1)
    assert other.take(3) == []
    audit(database)
    one.answer(ANSWERED, *leaders)
    assert states_of(database, batch) == [DONE] * 4


def test_same_question_in_another_batch(database: Database) -> None:
    """One answer ends lines of several batches; each batch's counters and ledger are its own."""
    first, second = add_batch(database, ["same"]), add_batch(database, ["same"] * 2, tenant="other")
    worker = Worker(database)
    leaders = worker.take()
    worker.answer(ANSWERED, *leaders)
    assert [batch_of(database, batch).state for batch in (first, second)] == [BatchState.FINALIZING] * 2
    assert sum(batch_of(database, batch).calls for batch in (first, second)) == 1
    audit(database)


def test_answer_given_before_is_used_again(database: Database) -> None:
    """A kept answer ends a line without a call, and its entry counts the use."""
    worker = Worker(database)
    add_batch(database, ["same"])
    worker.answer(ANSWERED, *worker.take())
    later = add_batch(database, ["same", "same"])
    assert worker.take() == []
    assert ledger_of(database, later) == [("hit", 0)] * 2
    with database.read() as tx:
        assert [row.usage_count for row in tx.rows(select(cache_entries.c.usage_count))] == [2]
    audit(database)


def test_answer_of_unknown_cost(database: Database) -> None:
    """An answer that does not say what it used is counted as such; what is known to be spent stays true."""
    batch = add_batch(database, [None, None])
    worker = Worker(database)
    silent, telling = worker.send(*worker.take())
    worker.settle((silent, replace(ANSWERED, usage=None)), (telling, ANSWERED))
    row = batch_of(database, batch)
    assert (row.done, row.unpriced, row.spent_nanos) == (2, 1, PRICE_NANOS)
    audit(database)


def test_kept_answer_runs_out(database: Database, clock: FakeClock) -> None:
    """After its life an answer is asked for anew."""
    worker = Worker(database)
    add_batch(database, ["same"])
    worker.answer(ANSWERED, *worker.take())
    clock.advance(30 * 86_400_000)
    add_batch(database, ["same"])
    assert len(worker.take()) == 1


def test_refresh_asks_anew_once(database: Database, clock: FakeClock) -> None:
    """A refreshing batch takes no older answer, but its own lines share the new one."""
    worker = Worker(database)
    add_batch(database, ["same"])
    worker.answer(ANSWERED, *worker.take())
    clock.advance(1)
    batch = add_batch(database, ["same"] * 3, cache=CacheMode.REFRESH)
    leaders = worker.take(2)
    assert len(leaders) == 1
    worker.answer(ANSWERED, *leaders)
    assert worker.take() == []
    assert batch_of(database, batch).calls == 1
    assert states_of(database, batch) == [DONE] * 3
    audit(database)


def test_refusal_is_remembered(database: Database) -> None:
    """What the provider refuses for good is refused to all who ask the same, without another call."""
    batch = add_batch(database, ["same"] * 3)
    worker = Worker(database)
    worker.answer(REFUSED, *worker.take(2))
    assert worker.take() == []
    assert states_of(database, batch) == [FAILED] * 3
    assert batch_of(database, batch).calls == 1
    audit(database)


@pytest.mark.parametrize("reply", [CUT_SHORT, FAULTY], ids=["cut-short", "failed"])
def test_answer_not_fit_for_others(database: Database, clock: FakeClock, reply: Reply) -> None:
    """When a leader ends with nothing to share, the first of those waiting asks for itself, and so on."""
    batch = add_batch(database, ["same"] * 3)
    worker = Worker(database, make_judge(most_tries=1))
    for ended in (1, 2, 3):
        leaders = worker.take()
        assert len(leaders) == 1
        worker.answer(reply, *leaders)
        assert sum(state in (DONE, FAILED) for state in states_of(database, batch)) == ended
        audit(database)
    assert batch_of(database, batch).calls == 3


@pytest.mark.parametrize("reply", [FAULTY, THROTTLED, UNKNOWN], ids=["fault", "throttle", "unknown"])
def test_leader_to_be_tried_again_keeps_leading(database: Database, clock: FakeClock, reply: Reply) -> None:
    """While the leader is still going to ask, nobody else does."""
    batch = add_batch(database, ["same"] * 3)
    worker = Worker(database)
    (leader,) = worker.take()
    worker.answer(reply, leader)
    assert worker.take() == []
    clock.advance(60_000)
    (again,) = worker.take()
    assert again.request_id == leader.request_id
    worker.answer(ANSWERED, again)
    assert states_of(database, batch) == [DONE] * 3
    audit(database)


def test_leader_lost_with_its_worker(database: Database, clock: FakeClock) -> None:
    """A leader whose worker died leads on once it is claimed again; those waiting get its answer."""
    batch = add_batch(database, ["same"] * 3)
    Worker(database).take()
    clock.advance(LEASE_MS)
    sweep.sweep(database, make_judge(), "test")
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take())
    assert states_of(database, batch) == [DONE] * 3
    audit(database)


@pytest.mark.parametrize("how", ["pause", "cancel"])
def test_leader_stranded_in_a_batch_that_stands_still(database: Database, how: str) -> None:
    """The sweep lets another lead, so that a running batch never waits for one that does not run."""
    standing, running = add_batch(database, ["same"]), add_batch(database, ["same"] * 2)
    worker = Worker(database)
    (leader,) = worker.take()
    assert leader.batch.id == standing
    with database.write() as tx:
        batches.pause(tx, standing, "by hand") if how == "pause" else batches.cancel(tx, standing)
    worker.hand_back(leader)
    for _ in range(2):
        sweep.sweep(database, make_judge(), "test")
        audit(database)
    (promoted,) = worker.take()
    assert promoted.batch.id == running
    worker.answer(ANSWERED, promoted)
    assert states_of(database, running) == [DONE] * 2
    audit(database)


def test_resumed_leader_follows_the_one_promoted_meanwhile(database: Database) -> None:
    """Back from a pause, a former leader waits like everyone else: the question is asked once."""
    standing, running = add_batch(database, ["same"]), add_batch(database, ["same"] * 2)
    worker = Worker(database)
    (leader,) = worker.take()
    with database.write() as tx:
        batches.pause(tx, standing, "by hand")
    worker.hand_back(leader)
    sweep.sweep(database, make_judge(), "test")
    with database.write() as tx:
        batches.resume(tx, standing)
    (promoted,) = worker.take()
    audit(database)
    worker.answer(ANSWERED, promoted)
    assert states_of(database, standing) + states_of(database, running) == [DONE] * 3
    assert len(attempts_of(database, leader.request_id)) == 0


def test_leader_resumed_before_the_sweep_leads_on(database: Database) -> None:
    """A leader whose batch runs again is not stranded: the sweep leaves it alone."""
    standing = add_batch(database, ["same"])
    add_batch(database, ["same"])
    worker = Worker(database)
    (leader,) = worker.take()
    with database.write() as tx:
        batches.pause(tx, standing, "by hand")
    worker.hand_back(leader)
    with database.write() as tx:
        batches.resume(tx, standing)
    sweep.sweep(database, make_judge(), "test")
    assert [job.request_id for job in worker.take()] == [leader.request_id]


def test_flights_of_a_cancelled_batch_are_cleared(database: Database) -> None:
    """A question that nobody is going to ask any more leaves nothing behind, and the next one is asked at once."""
    batch = add_batch(database, ["same"])
    worker = Worker(database)
    worker.hand_back(*worker.take())
    with database.write() as tx:
        batches.cancel(tx, batch)
    sweep.sweep(database, make_judge(), "test")
    assert audit(database).flights == {}
    add_batch(database, ["same"])
    assert len(worker.take()) == 1


def test_requests_without_a_key_are_all_asked(database: Database) -> None:
    """Requests for variety share nothing."""
    add_batch(database, [None, None, None])
    assert len(Worker(database).take()) == 3


def test_ten_thousand_followers(database: Database) -> None:
    """One settlement answers any number of followers, in the database."""
    batch = add_batch(database, ["same"] * 10_000)
    worker = Worker(database)
    leaders = worker.take(10_000)
    worker.answer(ANSWERED, *leaders)
    row = batch_of(database, batch)
    assert (row.state, row.done, row.cached) == (BatchState.FINALIZING, 10_000, 9_999)
    audit(database)
