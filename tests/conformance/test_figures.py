"""Figures for who watches the mill: savings, budgets, circuits, health, what runs by itself."""

from batchmill.budgets.model import Period, Scope
from batchmill.health.course import HealthLevel, Observation
from batchmill.routing.circuits import CircuitRules, CircuitState
from batchmill.settings import Settings
from batchmill.settings.schedules import JobName
from db import health_states, schedules
from db.engine import Database
from tests.support.budgets import add_budget
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch
from tests.support.replies import ANSWERED, FAULTY, PRICE_NANOS
from workers.serving.figures import COUNT_CACHE_EVERY_S, FigureReader, Figures, JobFigures

MODEL = ("openai", "gpt-4o-mini")


def figures(database: Database, settings: Settings) -> Figures:
    """As they are now."""
    return FigureReader(settings, database).read()


def test_a_hit_saves_what_its_answer_had_cost(database: Database, settings: Settings) -> None:
    """Each time; the first asking saves nothing."""
    reader = FigureReader(settings, database, keep_s=0.0)
    reader.read()
    worker = Worker(database)
    add_batch(database, ["key"])
    worker.answer(ANSWERED, *worker.take())
    assert reader.read().used[MODEL].saved_nanos == 0
    add_batch(database, ["key", "key"])
    assert worker.take() == []
    used = reader.read().used[MODEL]
    assert (used.calls, used.hits, used.saved_nanos) == (1, 2, 2 * PRICE_NANOS)


def test_budgets_are_told_the_fullest_first(database: Database, settings: Settings) -> None:
    """But none of a batch or a user: there may be any number of them."""
    add_budget(database, 8 * PRICE_NANOS)
    add_budget(database, 4 * PRICE_NANOS, scope=Scope.MODEL, name="gpt-4o-mini", period=Period.DAY)
    add_budget(database, 9 * PRICE_NANOS, scope=Scope.USER, name="u")
    worker = Worker(database)
    add_batch(database, 2, user="u")
    worker.settle(*((attempt, ANSWERED) for attempt in worker.send(*worker.take(), hold_nanos=PRICE_NANOS)))
    found = figures(database, settings).budgets
    assert [(one.budget.scope, one.balance.spent_nanos) for one in found] == [
        (Scope.MODEL, 2 * PRICE_NANOS),
        (Scope.GLOBAL, 2 * PRICE_NANOS),
    ]


def test_a_circuit_that_opened_is_told(database: Database, settings: Settings) -> None:
    """Once, as what has changed; and as how it stands."""
    assert figures(database, settings).circuits == {}
    worker = Worker(database, rules=CircuitRules(threshold=1))
    add_batch(database, 2)
    sent = worker.send(*worker.take())
    worker.settle((sent[0], FAULTY))
    assert figures(database, settings).circuits == {MODEL: CircuitState.OPEN}


def test_runs_are_told_by_job(database: Database, clock: FakeClock, settings: Settings) -> None:
    """When each was last done, whether the last run failed, since when it is known; one that is off is not told."""
    times = settings.schedules.model_copy(update={"usage_report": "off"})
    here = settings.model_copy(update={"schedules": times})
    jobs = (JobName.SWEEP, JobName.CACHE_CLEANUP, JobName.USAGE_REPORT)
    since_ms = clock.now_ms()
    for job in jobs:
        with database.write() as tx:
            turn = schedules.take(tx, job, since_ms, "a", by_hand=True)
            assert turn is not None
            schedules.finish(tx, turn, {"answer_bytes": 7} if job is JobName.CACHE_CLEANUP else {})
    clock.advance(60_000)
    with database.write() as tx:
        turn = schedules.take(tx, JobName.SWEEP, clock.now_ms(), "a", by_hand=True)
        assert turn is not None
        schedules.fail(tx, turn, "no")
    found = figures(database, here)
    assert found.jobs == {
        "sweep": JobFigures(since_ms=since_ms, done_ms=since_ms, is_failing=True),
        "cache-cleanup": JobFigures(since_ms=since_ms, done_ms=since_ms, is_failing=False),
    }
    assert found.cache_bytes == 7


def test_the_cache_is_counted_now_and_then(database: Database, settings: Settings) -> None:
    """Not at every look: a million entries take a tenth of a second."""
    at_s = 0.0
    reader = FigureReader(settings, database, keep_s=0.0, monotonic=lambda: at_s)
    worker = Worker(database)
    add_batch(database, ["key"])
    worker.answer(ANSWERED, *worker.take())
    assert reader.read().cache_entries == 1
    add_batch(database, ["other"])
    worker.answer(ANSWERED, *worker.take())
    assert reader.read().cache_entries == 1
    at_s = COUNT_CACHE_EVERY_S
    assert reader.read().cache_entries == 2


def test_components_are_told_as_they_were_last_checked(database: Database, settings: Settings) -> None:
    """By name."""
    with database.write() as tx:
        seen = Observation(component="database", level=HealthLevel.DEGRADED, message="slow")
        health_states.record(tx, tx.now_ms, [seen])
    assert figures(database, settings).health == {"database": HealthLevel.DEGRADED}
