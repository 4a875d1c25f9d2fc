"""Batches: their counters, and how they are paused, ended, discarded."""

from sqlalchemy import func, select

from batchmill.requests.model import BatchOptions, BatchState, RequestState
from batchmill.results.lines import error_line
from db import batches, requests, sweep
from db.engine import Database
from db.tables import inputs
from db.tables import requests as request_rows
from tests.support.audit import audit
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, batch_of, request_row, states_of
from tests.support.replies import ANSWERED, BLOCKED, REFUSED, make_judge

CANCELLED, DONE, EXPIRED, PENDING = (
    RequestState.CANCELLED,
    RequestState.DONE,
    RequestState.EXPIRED,
    RequestState.PENDING,
)


def sweep_once(database: Database) -> None:
    """One round of the sweep."""
    assert sweep.sweep(database, make_judge(), "test") is not None


def test_last_settlement_finalises(database: Database) -> None:
    """Exactly the settlement of the last line makes the batch finalizing."""
    batch = add_batch(database, 5)
    worker = Worker(database)
    states = []
    for job in worker.take():
        worker.answer(ANSWERED if len(states) % 2 else REFUSED, job)
        states.append(batch_of(database, batch).state)
        audit(database)
    assert states == [BatchState.IN_PROGRESS] * 4 + [BatchState.FINALIZING]


def test_blocked_account_pauses_the_batch(database: Database) -> None:
    """No key, no credit: the batch waits for its owner, also when a good answer is settled in the same commit."""
    batch = add_batch(database, 2)
    worker = Worker(database)
    blocked, answered = worker.send(*worker.take())
    worker.settle((blocked, BLOCKED), (answered, ANSWERED))
    row = batch_of(database, batch)
    assert row.state == BatchState.PAUSED
    assert row.paused_reason.startswith("invalid_api_key")
    assert row.last_error == "invalid_api_key: no key"
    audit(database)


def test_paused_batch_goes_on_where_it_was(database: Database) -> None:
    """Resumed, a batch is answered to its end."""
    batch = add_batch(database, 3)
    worker = Worker(database)
    held = worker.take(2)
    with database.write() as tx:
        assert batches.pause(tx, batch, "by hand")
        assert not batches.pause(tx, batch, "again")
    worker.hand_back(*held)
    assert worker.take() == []
    with database.write() as tx:
        assert batches.resume(tx, batch)
        assert not batches.resume(tx, batch)
    worker.answer(ANSWERED, *worker.take())
    assert states_of(database, batch) == [DONE] * 3
    audit(database)


def test_batch_paused_while_its_last_call_is_out(database: Database) -> None:
    """A call that was out when the batch was paused still ends it."""
    batch = add_batch(database, 1)
    worker = Worker(database)
    (attempt,) = worker.send(*worker.take())
    with database.write() as tx:
        batches.pause(tx, batch, "by hand")
    worker.settle((attempt, ANSWERED))
    assert batch_of(database, batch).state == BatchState.FINALIZING


def test_cancelled_batch_ends_what_nobody_holds(database: Database) -> None:
    """Cancelling ends every idle line at once, and the rest as their calls come back."""
    batch = add_batch(database, ["a", "a", "b", None, None])
    worker = Worker(database)
    jobs = worker.take(4)
    (attempt,) = worker.send(jobs[0])
    with database.write() as tx:
        assert batches.cancel(tx, batch)
        assert not batches.cancel(tx, batch)
    sweep_once(database)
    audit(database)
    assert states_of(database, batch).count(CANCELLED) == 2
    worker.settle((attempt, ANSWERED))
    worker.hand_back(*jobs[1:])
    audit(database)
    sweep_once(database)
    row = batch_of(database, batch)
    assert (row.done, row.cancelled) == (1, 4)
    with database.read() as tx:
        assert batches.rows(tx, [batch])[batch].final_state == BatchState.CANCELLED
    audit(database)


def test_overdue_batch_expires(database: Database, clock: FakeClock) -> None:
    """At its deadline what has not been answered has expired."""
    batch = add_batch(database, 4, deadline_ms=clock.now_ms() + 1_000)
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take(1))
    sweep_once(database)
    assert batch_of(database, batch).state == BatchState.IN_PROGRESS
    clock.advance(1_000)
    sweep_once(database)
    row = batch_of(database, batch)
    assert (row.done, row.expired, row.final_state) == (1, 3, BatchState.EXPIRED)
    audit(database)


def test_cancelling_in_steps(database: Database) -> None:
    """A batch longer than one step is ended to its last line."""
    batch = add_batch(database, 2 * sweep.ROWS_A_STEP + 1)
    with database.write() as tx:
        batches.cancel(tx, batch)
    sweep_once(database)
    assert batch_of(database, batch).cancelled == 2 * sweep.ROWS_A_STEP + 1
    audit(database)


def begun(database: Database, lines: int) -> int:
    """An ingest that has stored some lines and not come to its end."""
    with database.write() as tx:
        batch = int(batches.create(tx, BatchOptions()).id)
        requests.add(tx, [request_row(batch, place, None) for place in range(1, lines + 1)])
    return batch


def rows_left(database: Database) -> tuple[int, int]:
    """How many requests and inputs there are."""
    with database.read() as tx:
        found = [tx.rows(select(func.count()).select_from(table))[0][0] for table in (request_rows, inputs)]
    return found[0], found[1]


def test_abandoned_ingest_is_discarded(database: Database, clock: FakeClock) -> None:
    """An ingest that nobody has touched for an hour fails and leaves no rows."""
    batch = begun(database, 10)
    sweep_once(database)
    assert rows_left(database) == (10, 10)
    clock.advance(sweep.ABANDONED_AFTER_MS + 1)
    sweep_once(database)
    assert batch_of(database, batch).state == BatchState.FAILED
    assert batch_of(database, batch).ended_ms == clock.now_ms()
    assert rows_left(database) == (0, 0)


def test_discarding_that_broke_off_is_gone_on_with(database: Database, clock: FakeClock) -> None:
    """A discard cut off after its first step is finished by a later sweep."""
    batch = begun(database, 10)
    with database.write() as tx:
        assert batches.reject(tx, batch, "bad lines")
        requests.discard(tx, batch, 3)
    clock.advance(sweep.ABANDONED_AFTER_MS + 1)
    sweep_once(database)
    assert rows_left(database) == (0, 0)
    assert batch_of(database, batch).last_error == "bad lines"


def test_batch_that_has_started_is_not_discarded(database: Database) -> None:
    """A discard that comes too late, after the batch has started, deletes nothing."""
    batch = add_batch(database, 5)
    sweep.discard(database, batch, "interrupted")
    assert states_of(database, batch) == [PENDING] * 5
    audit(database)


def test_one_sweep_at_a_time(database: Database, clock: FakeClock) -> None:
    """While one owner sweeps another does not; a dead owner's place is free again after some seconds."""
    assert sweep._own(database, "one")
    assert sweep.sweep(database, make_judge(), "other") is None
    clock.advance(sweep.OWNER_LEASE_MS)
    assert sweep.sweep(database, make_judge(), "other") is not None


def test_sweep_tells_which_lanes_have_work(database: Database) -> None:
    """Every lane with claimable requests is to be rung for, and none without."""
    first = add_batch(database, 4)
    add_batch(database, 2)
    sweep_once(database)
    Worker(database).claim(1)
    swept = sweep.sweep(database, make_judge(), "test")
    assert swept is not None
    assert swept.to_ring == {"normal": (first, 5)}


def test_odd_characters_in_an_error(database: Database) -> None:
    """A NUL in a provider's error message stops nothing."""
    batch = add_batch(database, 1)
    worker = Worker(database)
    odd = type(REFUSED)(
        verdict=REFUSED.verdict, status_code=400, error_code="bad", error_message="a\0b", body=b"{}"
    )
    worker.answer(odd, *worker.take())
    (row,) = requests.results(database, batch)
    assert error_line(batch_request_id="x", custom_id="y", code="bad", message=row.error_message)
    audit(database)
