"""Jobs as they come due: who looks finds the same, each due time is run once, and what goes wrong is noted."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from batchmill.errors import InputError, StoppedError
from batchmill.settings import Settings, load_settings
from batchmill.settings.schedules import JobName
from db import schedules
from db.engine import Database
from db.schedules import RunRow, RunState
from tests.support.clocks import PATIENCE_S, FakeClock
from tests.support.jobs import LONG, OF_MILL, QUICK, jobs, until_stopped, watched
from tests.support.mill import wait_until
from workers.jobs.due import due_jobs
from workers.jobs.keeper import Keeper
from workers.jobs.run import Detail, JobRun, perform
from workers.jobs.turn import FAILED, NOT_ITS_TURN, run_in_turn

HEALTH, REPORT, CLEANUP, RETENTION = (
    JobName.HEALTH,
    JobName.USAGE_REPORT,
    JobName.CACHE_CLEANUP,
    JobName.RETENTION,
)
SPAN_MS = 3_600_000
EVERY_HOUR = {
    f"BATCHMILL_AT_{name}": "every 1h" for name in ("HEALTH", "USAGE_REPORT", "CACHE_CLEANUP", "RETENTION")
}
ALL = jobs(health=QUICK, usage_report=LONG, cache_cleanup=LONG, retention=LONG)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """All jobs are due every hour, and looked for often."""
    environ = EVERY_HOUR | {
        "DATABASE_URL": database_url,
        "BATCHMILL_HOME": str(tmp_path),
        "BATCHMILL_BEAT_S": "1",
    }
    return load_settings(environ, None)


@pytest.fixture
def due_ms(database: Database, settings: Settings, clock: FakeClock) -> int:
    """All have been heard of, and their next due time has just come."""
    assert due_jobs(settings, database, ALL) == {}
    clock.advance(SPAN_MS)
    return clock.now_ms() - clock.now_ms() % SPAN_MS


def run_now(settings: Settings, database: Database, job: JobName, due_ms: int) -> str:
    """Run one of them if it is its turn."""
    return run_in_turn(settings, database, job, due_ms, stopping=lambda: False, jobs=ALL)


def runs(database: Database) -> list[RunRow]:
    """All runs, the last begun first."""
    with database.read() as tx:
        return schedules.listed(tx, most=100)


def test_what_is_due(database: Database, settings: Settings, clock: FakeClock, due_ms: int) -> None:
    """What is quick, and the first of what is long; only the latest due time that was missed is made up for."""
    assert list(due_jobs(settings, database, ALL).items()) == [(HEALTH, due_ms), (REPORT, due_ms)]
    clock.advance(5 * SPAN_MS)
    assert due_jobs(settings, database, ALL)[REPORT] == due_ms + 5 * SPAN_MS


def test_while_a_long_one_is_run(database: Database, settings: Settings, due_ms: int) -> None:
    """Quick ones pass it, other long ones wait; when it is done they follow."""
    found = []

    def look(run: JobRun) -> Detail:
        found.append(due_jobs(settings, database, ALL))
        return {}

    assert perform(settings, database, RETENTION, due_ms, look) == {}
    assert found == [{HEALTH: due_ms}]
    assert due_jobs(settings, database, ALL) == {HEALTH: due_ms, REPORT: due_ms}


def test_off(database: Database, settings: Settings, due_ms: int) -> None:
    """A job that is off is never due, and not heard of before it is on."""
    off = load_settings(EVERY_HOUR | {"BATCHMILL_AT_HEALTH": "off"}, None)
    assert HEALTH not in due_jobs(off, database, ALL)


def test_many_look_at_once(database: Database, settings: Settings, clock: FakeClock, due_ms: int) -> None:
    """Two beats, four workers, five due times: each is run once, and long ones one at a time."""
    with watched(database.url) as seen:
        for nth in range(5):
            for _ in range(len(ALL)):
                with ThreadPoolExecutor(4) as workers:
                    looks = [due_jobs(settings, database, ALL) for _ in range(2)]
                    for job, due in [pair for look in looks for pair in look.items()]:
                        workers.submit(run_now, settings, database, job, due)
            clock.advance(SPAN_MS)
            assert len(seen.begun) == (nth + 1) * len(ALL)
    assert len(set(seen.begun)) == 5 * len(ALL)
    assert seen.most_at_once <= 2, "one quick job, one long one"
    assert {row.state for row in runs(database)} == {RunState.DONE}


def test_one_long_job_at_a_time_whatever_was_rung(
    database: Database, settings: Settings, due_ms: int
) -> None:
    """Of two long jobs rung for at the same moment one is begun; the other is not lost."""
    at_it = threading.Event()
    with (
        watched(database.url, lambda run: {"waited": at_it.wait(PATIENCE_S)}) as seen,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(run_in_turn, settings, database, REPORT, due_ms, stopping=lambda: False, jobs=ALL)
        wait_until(lambda: bool(seen.begun), PATIENCE_S)
        told = run_now(settings, database, RETENTION, due_ms)
        at_it.set()
        assert (told, first.result()) == (NOT_ITS_TURN, "waited: yes")
        assert list(due_jobs(settings, database, ALL)) == [HEALTH, CLEANUP]


def test_what_goes_wrong_is_noted(database: Database, settings: Settings, due_ms: int) -> None:
    """Ours with its words, what nobody foresaw by its kind alone: it may hold anything."""

    def fail(run: JobRun) -> Detail:
        raise InputError("the disk is full", "free some") if run.job is HEALTH else ValueError("sk-secret")

    with watched(database.url, fail):
        for job in (HEALTH, REPORT):
            told = run_now(settings, database, job, due_ms)
            assert told == FAILED
    errors = {row.job: (row.state, row.error) for row in runs(database)}
    assert errors == {
        HEALTH: (RunState.FAILED, "the disk is full"),
        REPORT: (RunState.FAILED, "unexpected ValueError"),
    }


def test_whatever_came_of_it(database: Database, settings: Settings, due_ms: int) -> None:
    """What a job says of itself cannot keep its run from being done, nor an error from being noted."""
    with watched(database.url, lambda run: {"spent": Decimal("1.5"), 3: "\0"}):  # type: ignore[dict-item]
        assert run_now(settings, database, HEALTH, due_ms).startswith("spent: 1.5")

    def fail(run: JobRun) -> Detail:
        raise InputError("no\0 good")

    with watched(database.url, fail):
        assert run_now(settings, database, REPORT, due_ms) == FAILED
    assert {row.state for row in runs(database)} == {RunState.DONE, RunState.FAILED}


def test_stopped_it_goes_to_another(database: Database, settings: Settings, due_ms: int) -> None:
    """Told to stop, a job ends at its next step; another takes it at once, and it was no try."""
    with watched(database.url, until_stopped):
        assert (
            run_in_turn(settings, database, REPORT, due_ms, stopping=lambda: True, jobs=ALL) == NOT_ITS_TURN
        )
    [row] = runs(database)
    assert (row.error, row.tries) == (schedules.STOPPED, 0)
    assert perform(settings, database, REPORT, due_ms, lambda run: {"goes": "on"}) == {"goes": "on"}


def test_taken_over(database: Database, settings: Settings, clock: FakeClock, due_ms: int) -> None:
    """Who has lost its lease to another learns so at its next step, and what it says is not noted."""

    def lose(run: JobRun) -> Detail:
        clock.advance(40)
        assert perform(settings, database, REPORT, due_ms, lambda run: {"by": "another"}) == {"by": "another"}
        assert run.lost.wait(PATIENCE_S)
        with pytest.raises(StoppedError):
            run.checkpoint()
        return {"by": "the first"}

    assert perform(settings, database, REPORT, due_ms, lose, lease_ms=40) is None
    [row] = runs(database)
    assert (row.state, row.tries, row.detail) == (RunState.DONE, 2, {"by": "another"})


def test_two_keepers(database: Database, settings: Settings, clock: FakeClock, due_ms: int) -> None:
    """However many mills keep time on a home, each due time is run once; the mill's own jobs are left to it."""
    those = {**ALL, **jobs(alerts=OF_MILL)}
    with (
        watched(database.url) as seen,
        Keeper(settings, database, jobs=those, first_look_s=0.0),
        Keeper(settings, database, jobs=those, first_look_s=0.0),
    ):
        for nth in range(1, 3):
            wait_until(lambda nth=nth: len(runs(database)) == nth * len(ALL), PATIENCE_S)  # type: ignore[misc]
            clock.advance(SPAN_MS)
    assert len(seen.begun) == len(set(seen.begun))
    assert {job for job, _ in seen.begun} == set(ALL)


def test_quick_ones_pass_a_long_one(
    database: Database, settings: Settings, clock: FakeClock, due_ms: int
) -> None:
    """A keeper runs quick jobs while a long one goes on, and at its end tells that one to stop."""
    only = jobs(health=QUICK, retention=LONG)

    def play(run: JobRun) -> Detail:
        return until_stopped(run) if run.job is RETENTION else {}

    with watched(database.url, play) as seen:
        with Keeper(settings, database, jobs=only, first_look_s=0.0, last_wait_s=PATIENCE_S) as keeper:
            wait_until(lambda: len(seen.begun) == 2, PATIENCE_S)
            clock.advance(SPAN_MS)
            wait_until(lambda: (HEALTH, due_ms + SPAN_MS) in seen.begun, PATIENCE_S)
        assert not keeper.is_at_work
    assert {row.error for row in runs(database) if row.job == RETENTION} == {schedules.STOPPED}


def test_a_job_that_does_not_stop_holds_nothing_up(
    database: Database, settings: Settings, due_ms: int
) -> None:
    """The end waits for a job only so long; stopped at once, it does not wait."""
    going_on = threading.Event()
    only = jobs(health=QUICK)
    with watched(database.url, lambda run: {"waited": going_on.wait(PATIENCE_S)}) as seen:
        keeper = Keeper(settings, database, jobs=only, first_look_s=0.0, last_wait_s=1e6)
        with suppress(StoppedError), keeper:
            wait_until(lambda: bool(seen.begun), PATIENCE_S)
            raise StoppedError("stopped at once", "", True)
        assert keeper.is_at_work
        going_on.set()
        wait_until(lambda: not keeper.is_at_work, PATIENCE_S)
    assert [row.state for row in runs(database)] == [RunState.DONE]


def test_what_a_job_logs_says_whose_it_is(database: Database, settings: Settings, due_ms: int) -> None:
    """Whatever is logged on a job's behalf, however deep inside, bears its name and who runs it."""
    said = LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, said])

    def do(_: JobRun) -> Detail:
        structlog.get_logger().info("something_done")
        return {}

    perform(settings, database, HEALTH, due_ms, do)
    structlog.get_logger().info("something_else")
    job, other = said.entries
    assert job["job"] == HEALTH
    assert job["worker"].count("/") == 2
    assert not other.keys() & {"job", "worker"}
