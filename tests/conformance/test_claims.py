"""Claims: who gets which requests, in which order, and how many."""

from collections import Counter

from batchmill.requests.ids import place_of
from batchmill.requests.model import BatchState, Lane, RequestState
from batchmill.requests.work import Job
from db import batches, claims
from db.engine import Database
from tests.support.audit import audit
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, batch_of, states_of
from tests.support.replies import ANSWERED, THROTTLED


def places(jobs: list[Job]) -> list[int]:
    """Places of jobs in their inputs."""
    return [place_of(job.request_id) for job in jobs]


def test_claim_takes_exactly_what_it_asks_for(database: Database) -> None:
    """A claim of n gets the first n lines, in input order; the next one gets those after them."""
    add_batch(database, 10)
    worker = Worker(database)
    assert [places(worker.claim(4)) for _ in range(4)] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10], []]
    audit(database)


def test_retries_due_count_against_the_limit(database: Database, clock: FakeClock) -> None:
    """What is to be tried again comes first, and together with fresh lines it stays within the limit."""
    add_batch(database, 10)
    worker = Worker(database)
    worker.answer(THROTTLED, *worker.take(3))
    clock.advance(60_000)
    assert places(worker.claim(5)) == [1, 2, 3, 4, 5]
    audit(database)


def test_more_retries_due_than_asked_for(database: Database, clock: FakeClock) -> None:
    """With more retries due than room, exactly the room is filled and no fresh line is taken."""
    batch = add_batch(database, 10)
    worker = Worker(database)
    worker.answer(THROTTLED, *worker.take(6))
    clock.advance(60_000)
    assert len(worker.claim(4)) == 4
    assert batch_of(database, batch).cursor == 6
    assert len(worker.claim(100)) == 6


def test_retry_not_yet_due_is_left_alone(database: Database, clock: FakeClock) -> None:
    """A request is claimed again when its delay is over, not before."""
    add_batch(database, 1)
    worker = Worker(database)
    (job,) = worker.take()
    worker.hand_back(job, delay_ms=5_000)
    clock.advance(4_999)
    assert worker.claim() == []
    clock.advance(1)
    assert len(worker.claim()) == 1


def test_two_workers_never_get_the_same_request(database: Database) -> None:
    """What one holds the other does not get."""
    add_batch(database, 9)
    one, other = Worker(database), Worker(database)
    got = [job.request_id for _ in range(3) for worker in (one, other) for job in worker.claim(2)]
    assert len(got) == len(set(got)) == 9


def test_lanes_share_by_stride(database: Database) -> None:
    """Of 111 requests claimed while every lane has work, high gets 100, normal 10 and low 1: low never starves."""
    for lane in Lane:
        add_batch(database, 1_000, lane=lane)
    worker = Worker(database)
    got = Counter(job.batch.lane for _ in range(333) for job in worker.claim(1))
    assert got == {Lane.HIGH: 300, Lane.NORMAL: 30, Lane.LOW: 3}


def test_tenants_of_a_lane_take_turns(database: Database) -> None:
    """Two tenants of one lane get the same, however many batches each of them has."""
    for _ in range(5):
        add_batch(database, 100, tenant="crowded")
    add_batch(database, 100, tenant="alone")
    worker = Worker(database)
    got = Counter(job.batch.tenant for _ in range(40) for job in worker.claim(1))
    assert got == {"crowded": 20, "alone": 20}


def test_newcomer_starts_at_the_lowest_pass(database: Database) -> None:
    """A tenant that joins late takes turns at once: it neither waits for others nor catches up on them."""
    add_batch(database, 1_000, tenant="old")
    worker = Worker(database)
    worker.claim(500)
    add_batch(database, 1_000, tenant="new")
    got = Counter(job.batch.tenant for _ in range(20) for job in worker.claim(1))
    assert got == {"old": 10, "new": 10}


def test_newcomer_beside_one_that_only_waits_for_answers(database: Database) -> None:
    """A share with nothing left to claim is no measure: who joins at its old pass would be served alone for long."""
    add_batch(database, 1, tenant="finishing")
    add_batch(database, 1_000, tenant="busy")
    worker = Worker(database)
    worker.claim(500)
    add_batch(database, 1_000, tenant="new")
    got = Counter(job.batch.tenant for _ in range(20) for job in worker.claim(1))
    assert got == {"busy": 10, "new": 10}


def test_tenant_returning_after_it_had_the_mill_alone(database: Database) -> None:
    """Having been served alone is not held against a tenant: a later one starts where it left off."""
    first = add_batch(database, 500, tenant="early")
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take())
    assert batch_of(database, first).state == BatchState.FINALIZING
    add_batch(database, 1_000, tenant="late")
    add_batch(database, 1_000, tenant="early")
    got = Counter(job.batch.tenant for _ in range(20) for job in worker.claim(1))
    assert got == {"late": 10, "early": 10}


def test_resumed_batch_does_not_catch_up(database: Database) -> None:
    """A batch that stood still joins the line anew, and does not hold everyone up until it has caught up."""
    paused = add_batch(database, 1_000, tenant="paused")
    add_batch(database, 1_000, tenant="busy")
    with database.write() as tx:
        batches.pause(tx, paused, "by hand")
    worker = Worker(database)
    worker.claim(500)
    with database.write() as tx:
        assert batches.resume(tx, paused)
    got = Counter(job.batch.tenant for _ in range(20) for job in worker.claim(1))
    assert got == {"paused": 10, "busy": 10}


def test_unserved_lanes_are_skipped(database: Database) -> None:
    """A worker gets nothing from lanes it does not serve, whatever is waiting there."""
    for lane in Lane:
        add_batch(database, 10, lane=lane)
    jobs = Worker(database).claim(100, lanes=(Lane.LOW,))
    assert {job.batch.lane for job in jobs} == {Lane.LOW}
    assert len(jobs) == 10


def test_only_one_batch_is_served(database: Database) -> None:
    """A worker of one batch takes nothing from the others, fairer or not."""
    add_batch(database, 10, lane=Lane.HIGH)
    mine = add_batch(database, 10, lane=Lane.LOW)
    assert {job.batch.id for job in Worker(database).claim(only_batch=mine)} == {mine}


def test_one_claim_spans_batches(database: Database) -> None:
    """A claim goes on with the next batch until it has what it asked for, and stays within that."""
    for tenant in "abc":
        add_batch(database, 4, tenant=tenant)
    jobs = Worker(database).claim(10)
    assert sorted(Counter(job.batch.tenant for job in jobs).values()) == [2, 4, 4]
    assert len({job.claim_id for job in jobs}) == 3
    audit(database)


def test_batches_that_do_not_run_are_not_claimed(database: Database) -> None:
    """Nothing is claimed from a batch that is paused or cancelling."""
    paused, cancelled = add_batch(database, 5), add_batch(database, 5)
    with database.write() as tx:
        batches.pause(tx, paused, "by hand")
        batches.cancel(tx, cancelled)
    assert Worker(database).claim() == []
    assert states_of(database, paused) == [RequestState.PENDING] * 5


def test_batch_meant_for_another_provider_is_left_alone(database: Database) -> None:
    """A worker that calls another address than a batch is meant for claims nothing of it."""
    add_batch(database, 3, upstream="http://there/v1")
    with database.write() as tx:
        offer = {"worker_id": "w", "room": {Lane.NORMAL: 3}, "lease_ms": 1_000}
        assert claims.take(tx, **offer, upstreams=["http://here/v1"]).jobs == []
        assert len(claims.take(tx, **offer, upstreams=["http://there/v1"]).jobs) == 3
