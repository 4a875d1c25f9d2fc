"""Gauges: each is what counting everything would say."""

import pytest
from sqlalchemy import insert

from batchmill.requests.model import BatchState, Lane
from batchmill.settings import Settings
from db import gauges
from db.engine import Database
from db.tables import batches, files
from tests.conformance.test_usage import entry, write
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch
from tests.support.replies import ANSWERED, PRICE_NANOS, UNKNOWN
from workers.queues import lane_loads
from workers.serving.figures import MOST_MODELS, OTHERS, FigureReader, LedgerCount, Used

MODEL = ("openai", "gpt-4o-mini")
DAY_MS = 86_400_000


def test_requests_are_pending_or_in_flight_until_they_are_answered(database: Database) -> None:
    """In each lane: a call that is out counts as in flight, what is still to be called as pending, also where a worker
    holds it, and what has its answer as neither."""
    add_batch(database, 5, lane=Lane.HIGH)
    add_batch(database, 2, lane=Lane.LOW)
    worker = Worker(database)
    jobs = worker.take(3, lanes=[Lane.HIGH])
    worker.answer(ANSWERED, jobs[0])
    worker.send(jobs[1])
    with database.read() as tx:
        loads = lane_loads(tx)
    high, low = loads[Lane.HIGH], loads[Lane.LOW]
    assert (high.pending, high.in_flight, high.batches) == (3, 1, {BatchState.IN_PROGRESS: 1})
    assert (low.pending, low.in_flight, low.batches) == (2, 0, {BatchState.IN_PROGRESS: 1})
    assert loads[Lane.NORMAL].batches == {}


def test_what_has_ended_is_in_no_lane(database: Database) -> None:
    """A batch whose every line is answered is waited for by nobody."""
    add_batch(database, 2)
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take())
    with database.write() as tx:
        for row in tx.rows(batches.select()):
            tx.run(batches.update().values(ended_ms=tx.now_ms).where(batches.c.id == row.id))
        assert gauges.open_batches(tx) == []
        assert gauges.in_flight(tx) == {}


def test_single_requests_are_no_batches(database: Database) -> None:
    """A request that its caller waits for is counted as a request, and not as a batch."""
    batch = add_batch(database, 1)
    with database.write() as tx:
        tx.run(batches.update().values(is_direct=True).where(batches.c.id == batch))
        loads = lane_loads(tx)
    assert (loads[Lane.NORMAL].batches, loads[Lane.NORMAL].pending) == ({}, 1)


def test_unknown_calls_count_until_they_are_known(database: Database) -> None:
    """A call whose answer is lost counts, and no longer once the answer has come after all."""
    add_batch(database, 1)
    worker = Worker(database)
    (attempt,) = worker.send(*worker.take())
    worker.settle((attempt, UNKNOWN))
    with database.read() as tx:
        assert gauges.unknown_attempts(tx) == 1
    worker.settle((attempt, ANSWERED))
    with database.read() as tx:
        assert gauges.unknown_attempts(tx) == 0


def test_files_are_counted_with_their_bytes(database: Database) -> None:
    """However large they are together."""
    with database.write() as tx:
        assert gauges.kept_files(tx) == (0, 0)
        for nth, size in enumerate((7, 2**40)):
            row = {
                "public_id": f"file-{nth}",
                "tenant": "acme",
                "purpose": "batch",
                "filename": "in.jsonl",
                "state": "processed",
                "bytes": size,
                "created_ms": tx.now_ms,
                "touched_ms": tx.now_ms,
            }
            tx.run(insert(files).values(row))
        assert gauges.kept_files(tx) == (2, 2**40 + 7)


def test_a_model_has_its_calls_hits_tokens_and_cost(database: Database, clock: FakeClock) -> None:
    """Calls that failed are counted among the calls, hits are not."""
    now_ms = clock.now_ms()
    write(
        database,
        [
            entry(now_ms, input_tokens=7, output_tokens=1, cost_nanos=30),
            entry(now_ms, success=False, cost_nanos=None),
            entry(now_ms, kind="hit"),
        ],
    )
    with database.read() as tx:
        assert LedgerCount(now_ms).read(tx) == {
            MODEL: Used(calls=2, failed=1, hits=1, input_tokens=7, output_tokens=1, cost_nanos=30)
        }


@pytest.mark.parametrize("pause_ms", [1, 40_000, 61_000, DAY_MS])
def test_the_ledger_is_counted_once_however_often_it_is_read(
    database: Database, clock: FakeClock, pause_ms: int
) -> None:
    """Whatever passes between the readings: each entry is in every later reading, once; those before are in none."""
    write(database, [entry(clock.now_ms() - 1, cost_nanos=1_000_000)])
    count = LedgerCount(clock.now_ms())
    worker = Worker(database)
    for nth in range(1, 6):
        add_batch(database, 1)
        worker.answer(ANSWERED, *worker.take())
        with database.read() as tx:
            assert count.read(tx)[MODEL].cost_nanos == nth * PRICE_NANOS
        clock.advance(pause_ms)


def test_an_entry_that_comes_late_is_counted(database: Database, clock: FakeClock) -> None:
    """A transaction that began before the last reading, and was committed after it, is in the next."""
    begun_ms = clock.now_ms()
    count = LedgerCount(begun_ms)
    clock.advance(30_000)
    with database.read() as tx:
        assert count.read(tx) == {}
    write(database, [entry(begun_ms + 1, cost_nanos=5)])
    for _ in range(2):
        clock.advance(50_000)
        with database.read() as tx:
            assert count.read(tx)[MODEL].cost_nanos == 5


def test_models_without_end_share_one_figure(database: Database, clock: FakeClock) -> None:
    """However many models producers name, a bounded number of figures is told, and nothing is left out of them."""
    now_ms = clock.now_ms()
    write(database, [entry(now_ms, model=f"m{nth}", cost_nanos=1) for nth in range(MOST_MODELS + 50)])
    with database.read() as tx:
        counted = LedgerCount(now_ms).read(tx)
    assert len(counted) == MOST_MODELS + 1
    assert counted[OTHERS].cost_nanos == 50
    assert sum(used.cost_nanos for used in counted.values()) == MOST_MODELS + 50


def test_today_begins_anew_at_midnight_and_the_counters_go_on(
    database: Database, clock: FakeClock, settings: Settings
) -> None:
    """What was spent before the process began counts for its day; at midnight that is over, the counters are not."""
    at_s = 0.0
    write(database, [entry(clock.now_ms() - 1, cost_nanos=7)])
    reader = FigureReader(settings, database, keep_s=0.0, monotonic=lambda: at_s)
    worker = Worker(database)
    add_batch(database, 1)
    worker.answer(ANSWERED, *worker.take())
    clock.advance(1_000)
    at_s = 1.0
    first = reader.read()
    assert first.today[MODEL].cost_nanos == 7 + PRICE_NANOS
    assert first.used[MODEL].cost_nanos == PRICE_NANOS
    clock.advance(DAY_MS)
    after = reader.read()
    assert after.today == {}
    assert after.used[MODEL].cost_nanos == PRICE_NANOS


def test_figures_are_read_anew_only_after_a_while(database: Database, settings: Settings) -> None:
    """Whoever asks twice within five seconds is told the same, without another look."""
    at_s = 0.0
    reader = FigureReader(settings, database, monotonic=lambda: at_s)
    assert reader.read().lanes[Lane.NORMAL].pending == 0
    add_batch(database, 3)
    at_s = 4.9
    assert reader.read().lanes[Lane.NORMAL].pending == 0
    at_s = 5.0
    assert reader.read().lanes[Lane.NORMAL].pending == 3
