"""Leases and fences: what a worker may do while its claim lasts, and what remains of it afterwards."""

import asyncio

import pytest

from batchmill.requests.model import AttemptState, BatchState, Lane, OnUnknown, RequestState
from batchmill.requests.work import Attempt, Job, Withheld
from db import batches, sweep
from db.engine import Database
from db.journal import STANDS_STILL, Journal
from tests.support.audit import audit
from tests.support.clocks import FakeClock
from tests.support.hands import (
    LEASE_MS,
    Worker,
    add_batch,
    attempts_of,
    batch_of,
    ledger_of,
    request_of,
    send_of,
    states_of,
)
from tests.support.replies import ANSWERED, FAULTY, PRICE_NANOS, THROTTLED, make_judge


def swept(database: Database) -> sweep.Swept:
    """One round of the sweep."""
    found = sweep.sweep(database, make_judge(), "test")
    assert found is not None
    return found


def sent_and_lost(database: Database, clock: FakeClock, **options: object) -> tuple[Worker, Job, Attempt]:
    """A worker whose lease was taken back while its call was out."""
    add_batch(database, ["key"], **options)
    worker = Worker(database)
    (job,) = worker.take()
    (attempt,) = worker.send(job)
    clock.advance(LEASE_MS)
    assert swept(database).unknown_attempts == 1
    return worker, job, attempt


def test_renewed_lease_lasts(database: Database, clock: FakeClock) -> None:
    """A claim renewed in time is never taken back."""
    add_batch(database, 1)
    worker = Worker(database)
    (job,) = worker.take()
    for _ in range(5):
        clock.advance(LEASE_MS - 1)
        assert worker.renew() == {job.claim_id}
        assert swept(database).lost_claims == 0


def test_lease_that_ran_out_is_not_renewed(database: Database, clock: FakeClock) -> None:
    """Too late is too late, even if nobody has taken the claim back yet."""
    add_batch(database, 1)
    worker = Worker(database)
    worker.take()
    clock.advance(LEASE_MS)
    assert worker.renew() == set()


def test_claim_left_behind_is_not_renewed(database: Database, clock: FakeClock) -> None:
    """A worker prolongs only what it works on: claims of an earlier pump of the same process run out."""
    add_batch(database, 2)
    earlier = Worker(database)
    earlier.claim(1)
    later = Worker(database)
    later.id = earlier.id
    (job,) = later.claim(1)
    clock.advance(LEASE_MS - 1)
    assert later.renew() == {job.claim_id}
    clock.advance(1)
    assert swept(database).lost_claims == 1


def test_nothing_is_sent_after_the_lease(database: Database, clock: FakeClock) -> None:
    """Once the lease is over no call starts, whether or not the sweep has come by."""
    add_batch(database, 2)
    worker = Worker(database)
    first, second = worker.take()
    clock.advance(LEASE_MS)
    assert worker.send(first) == []
    swept(database)
    assert worker.send(second) == []
    assert attempts_of(database, first.request_id) == []
    audit(database)


def test_sweep_takes_back_what_was_not_sent(database: Database, clock: FakeClock) -> None:
    """A lost request that was never sent is claimable at once, and counts no try."""
    add_batch(database, 3)
    Worker(database).take()
    clock.advance(LEASE_MS)
    assert swept(database).lost_claims == 1
    jobs = Worker(database).claim()
    assert [(job.attempts, job.tries) for job in jobs] == [(0, 0)] * 3
    audit(database)


def test_sweep_keeps_the_reason_for_another_attempt(database: Database, clock: FakeClock) -> None:
    """A request taken back between two attempts still says why the second one is made."""
    add_batch(database, 1)
    worker = Worker(database)
    worker.answer(THROTTLED, *worker.take())
    clock.advance(60_000)
    worker.take()
    clock.advance(LEASE_MS)
    swept(database)
    again = Worker(database)
    (attempt,) = again.answer(ANSWERED, *again.take())
    reasons = [row.reason for row in attempts_of(database, attempt.job.request_id)]
    assert reasons == ["first", "rate_limit"]


def test_lost_call_is_unknown_and_tried_again(database: Database, clock: FakeClock) -> None:
    """A call whose worker died may have been billed: it is on the books as unknown, and its request goes on."""
    _, job, _ = sent_and_lost(database, clock)
    assert batch_of(database, job.batch.id).unknown_attempts == 1
    assert ledger_of(database, job.batch.id) == [("call", None)]
    clock.advance(60_000)
    (again,) = Worker(database).take()
    assert (again.attempts, again.tries, again.reason) == (1, 1, "worker_lost")
    audit(database)


def test_late_answer_of_a_lost_lease(database: Database, clock: FakeClock) -> None:
    """It makes the money true and fills the cache; the request is no longer its business."""
    worker, job, attempt = sent_and_lost(database, clock)
    worker.settle((attempt, ANSWERED))
    batch = batch_of(database, job.batch.id)
    assert (batch.unknown_attempts, batch.spent_nanos, batch.done) == (0, PRICE_NANOS, 0)
    assert ledger_of(database, job.batch.id) == [("call", None), ("correction", PRICE_NANOS)]
    assert request_of(database, job.request_id).state == RequestState.PENDING
    audit(database)
    clock.advance(60_000)
    assert Worker(database).take() == []
    assert states_of(database, job.batch.id) == [RequestState.DONE]
    assert batch_of(database, job.batch.id).calls == 1
    audit(database)


def test_late_answer_to_a_request_that_failed(database: Database, clock: FakeClock) -> None:
    """With `--on-unknown fail` the request has failed and stays so; the late answer is paid for and kept for others."""
    worker, job, attempt = sent_and_lost(database, clock, on_unknown=OnUnknown.FAIL)
    before = request_of(database, job.request_id)
    worker.settle((attempt, ANSWERED))
    assert request_of(database, job.request_id) == before
    assert before.state == RequestState.FAILED
    other = add_batch(database, ["key"])
    assert Worker(database).take() == []
    assert states_of(database, other) == [RequestState.DONE]
    audit(database)


def test_late_answer_while_another_worker_calls(database: Database, clock: FakeClock) -> None:
    """Both calls are on the books, each with its own attempt; the request has one end."""
    worker, job, attempt = sent_and_lost(database, clock)
    clock.advance(60_000)
    other = Worker(database)
    (second,) = other.send(*other.take())
    worker.settle((attempt, ANSWERED))
    audit(database)
    other.settle((second, ANSWERED))
    assert [row.state for row in attempts_of(database, job.request_id)] == [AttemptState.SETTLED] * 2
    assert batch_of(database, job.batch.id).spent_nanos == 2 * PRICE_NANOS
    assert request_of(database, job.request_id).answer_id == second.id
    audit(database)


def test_settled_between_the_end_of_the_lease_and_the_sweep(database: Database, clock: FakeClock) -> None:
    """While nobody has taken a claim back its holder may still bring the answer."""
    batch = add_batch(database, 1)
    worker = Worker(database)
    (attempt,) = worker.send(*worker.take())
    clock.advance(LEASE_MS + 1)
    worker.settle((attempt, ANSWERED))
    assert swept(database).lost_claims == 0
    assert states_of(database, batch) == [RequestState.DONE]


@pytest.mark.parametrize("deliveries", [1, 2, 5])
def test_settling_again_changes_nothing(database: Database, deliveries: int) -> None:
    """However often the same outcomes are written, one entry is made and one line counted."""
    batch = add_batch(database, ["key", "key", "other", None])
    worker = Worker(database)
    leaders = worker.take()
    sent = worker.send(*leaders)
    outcomes = [worker.judge.judge(attempt, ANSWERED) for attempt in sent]
    for _ in range(deliveries):
        worker.write(sweep.settling.Work(outcomes=outcomes))
        books = audit(database)
    assert sorted(entry.kind for entry in books.ledger) == ["call", "call", "call", "hit"]
    assert batch_of(database, batch).state == BatchState.FINALIZING


def test_sending_again_makes_no_second_attempt(database: Database) -> None:
    """The same send recorded twice is one attempt, and one call on the batch."""
    batch = add_batch(database, 3)
    worker = Worker(database)
    jobs = worker.take()
    first = worker.send(*jobs[:2])
    again = worker.send(*jobs)
    assert [attempt.id for attempt in again[:2]] == [attempt.id for attempt in first]
    assert batch_of(database, batch).calls == 3
    audit(database)


def test_another_workers_attempt_is_not_ours(database: Database, clock: FakeClock) -> None:
    """A job that has been called for by somebody else meanwhile is not sent again under its old number."""
    _, job, _ = sent_and_lost(database, clock)
    other = Worker(database)
    clock.advance(60_000)
    (taken,) = other.claim()
    other.look_up([taken])
    taken.attempts = job.attempts
    assert other.send(taken) == []


@pytest.mark.parametrize("how", ["pause", "cancel"])
def test_batch_standing_still_sends_nothing(database: Database, how: str) -> None:
    """Once a batch is paused or being cancelled no call starts, also of what was claimed before."""
    batch = add_batch(database, 2)
    worker = Worker(database)
    first, second = worker.take()
    assert len(worker.send(first)) == 1
    with database.write() as tx:
        batches.pause(tx, batch, "by hand") if how == "pause" else batches.cancel(tx, batch)
    assert worker.send(second) == []
    assert batch_of(database, batch).calls == 1
    audit(database)


def test_dead_workers_claims_are_taken_back_at_once(database: Database) -> None:
    """Who knows that a worker is dead need not wait for its leases, and does it once."""
    add_batch(database, 4)
    dead = Worker(database)
    jobs = dead.take()
    dead.send(jobs[0])
    ids = sorted({job.claim_id for job in jobs})
    assert [sweep.take_back(database, ids, make_judge()) for _ in range(2)] == [1, 0]
    audit(database)


def test_tries_are_counted_over_attempts(database: Database, clock: FakeClock) -> None:
    """After so many failed calls the request has failed, with the last reply as its answer."""
    batch = add_batch(database, 1)
    worker = Worker(database, make_judge(most_tries=3))
    for _ in range(3):
        worker.answer(FAULTY, *worker.take())
        clock.advance(60_000)
    assert states_of(database, batch) == [RequestState.FAILED]
    audit(database)


async def sent_twice(
    database: Database, clock: FakeClock, *, is_lost_first: bool
) -> tuple[Attempt | Withheld, Attempt | Withheld]:
    """What is told to who holds a line under a lost claim, and to who holds it anew, in the same process, where both
    want to call at the same moment."""
    room = {Lane.NORMAL: 1}
    async with Journal(database, "worker", lease_ms=LEASE_MS).open() as journal:
        _, (lost,) = await journal.claim(room)
        clock.advance(LEASE_MS)
        assert swept(database).lost_claims == 1
        _, (anew,) = await journal.claim(room)
        assert anew.request_id == lost.request_id
        assert anew.claim_id != lost.claim_id
        jobs = [lost, anew] if is_lost_first else [anew, lost]
        told = await asyncio.gather(*(journal.send(send_of(job)) for job in jobs))
        by_claim = {job.claim_id: one for job, one in zip(jobs, told, strict=True)}
        for one in told:
            if isinstance(one, Attempt):
                await journal.settle(make_judge().judge(one, ANSWERED))
    return by_claim[lost.claim_id], by_claim[anew.claim_id]


@pytest.mark.parametrize("is_lost_first", [True, False])
def test_a_line_claimed_anew_by_the_same_worker_is_called_for_once(
    database: Database, clock: FakeClock, is_lost_first: bool
) -> None:
    """A machine that slept may have the same line twice: the lost claim's is told nothing that is for the other."""
    batch = add_batch(database, 1)
    lost, anew = asyncio.run(sent_twice(database, clock, is_lost_first=is_lost_first))
    assert lost == STANDS_STILL
    assert isinstance(anew, Attempt)
    assert states_of(database, batch) == [RequestState.DONE]
    audit(database)
