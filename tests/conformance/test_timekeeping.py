"""What people see of what runs by itself: how each job stands, and whether anybody keeps time."""

from pathlib import Path

import pytest

from batchmill.errors import ConflictError, MisuseError
from batchmill.findings import Finding, Level
from batchmill.settings import Settings, load_settings
from batchmill.settings.schedules import JobName
from db import schedules, sweep
from db.engine import Database
from db.schedules import LEASE_MS, MOST_TRIES, Turn
from tests.support.clocks import FakeClock
from tests.support.jobs import LONG, QUICK, jobs
from tests.support.replies import make_judge
from workers.attendance import attend_home
from workers.jobs.due import due_jobs
from workers.surroundings import at_work
from workers.timekeeping import Standing, job_named, run_by_hand, run_view, standings, view

SWEEP, ALERTS, RETENTION = JobName.SWEEP, JobName.ALERTS, JobName.RETENTION
TWO_MINUTES_MS, DAY_MS = 120_000, 86_400_000


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Where beat keeps time."""
    environ = {"DATABASE_URL": database_url, "BROKER_URL": "redis://there", "BATCHMILL_HOME": str(tmp_path)}
    return load_settings(environ, None)


def standing(settings: Settings, database: Database, job: JobName) -> Standing:
    """How it stands with one of two jobs, a quick and a long one."""
    found = standings(settings, database, jobs(sweep=QUICK, retention=LONG))
    return next(one for one in found if one.job is job)


def doctored(settings: Settings, database: Database) -> Finding:
    """What the doctor says of schedules."""
    return next(one for one in at_work(settings, database, lambda _: None) if one.check == "schedules")


def begin(database: Database, job: JobName, due_ms: int) -> Turn:
    """Somebody begins a run."""
    with database.write() as tx:
        turn = schedules.take(tx, job, due_ms, "here/4711/abc", by_hand=True)
    assert turn is not None
    return turn


def fail(database: Database, turn: Turn) -> None:
    """It goes wrong."""
    with database.write() as tx:
        schedules.fail(tx, turn, "no space left")


def test_nobody_keeps_time(database: Database, settings: Settings, clock: FakeClock) -> None:
    """The doctor says so of an installation that nobody has rung for; of one that beat looks after, nothing."""
    finding = doctored(settings, database)
    assert (finding.level, finding.message) == (Level.WARNING, "nobody runs what is due")
    assert "batchmill beat" in finding.hint
    due_jobs(settings, database)
    assert doctored(settings, database).level is Level.OK
    clock.advance(TWO_MINUTES_MS)
    assert doctored(settings, database).level is Level.OK
    clock.advance(11_000)
    finding = doctored(settings, database)
    assert (finding.level, finding.message) == (Level.WARNING, "nobody runs what is due")
    assert "sweep is due since 2027-01-15T08:00:10Z" in [one.detail for one in finding.examples]


def test_a_home_at_rest(database: Database, tmp_path: Path, clock: FakeClock) -> None:
    """Where no mill runs nobody need keep time; where one does, it has to. What it does by itself is told."""
    home = load_settings(
        {"DATABASE_URL": f"sqlite:///{tmp_path}/batchmill.db", "BATCHMILL_HOME": str(tmp_path)}, None
    )
    with database.write() as tx:
        schedules.hear_of(tx, [SWEEP, RETENTION])
    sweep.sweep(database, make_judge(), owner="mill")
    clock.advance(3 * DAY_MS)
    assert doctored(home, database).level is Level.OK
    with attend_home(home):
        assert standing(home, database, RETENTION).late_since_ms is not None
    [one] = [one for one in standings(home, database) if one.job is SWEEP]
    assert (one.next_due_ms, one.late_since_ms) == (None, None)
    assert one.note.endswith("; last at 2027-01-15T08:00:00Z")


def test_late(database: Database, settings: Settings, clock: FakeClock) -> None:
    """A job is late once it could have been begun for two minutes: not while it is run, waits for its next try, or for
    another long one."""

    def since_ms(job: JobName = RETENTION) -> int | None:
        return standing(settings, database, job).late_since_ms

    with database.write() as tx:
        schedules.hear_of(tx, [RETENTION])
    due_ms = standing(settings, database, RETENTION).next_due_ms
    assert due_ms is not None
    clock.advance(due_ms - clock.now_ms() + TWO_MINUTES_MS)
    assert since_ms() is None
    clock.advance(1)
    assert since_ms() == due_ms
    turn = begin(database, RETENTION, due_ms)
    assert since_ms() is None
    fail(database, turn)
    clock.advance(30_000 + TWO_MINUTES_MS)
    assert since_ms() is None
    clock.advance(1)
    assert since_ms() == clock.now_ms() - TWO_MINUTES_MS - 1
    begin(database, RETENTION, due_ms)
    clock.advance(LEASE_MS + TWO_MINUTES_MS)
    assert since_ms() is None
    clock.advance(1)
    assert since_ms() is not None


def test_a_job_that_fails(database: Database, settings: Settings, clock: FakeClock) -> None:
    """The doctor names it with its last error; once it is done again all is well. To be stopped is no failure."""
    due_jobs(settings, database)
    clock.advance(1_000)
    fail(database, begin(database, ALERTS, clock.now_ms()))
    finding = doctored(settings, database)
    assert (finding.level, finding.message) == (Level.WARNING, "jobs whose last run failed: 1")
    assert [one.detail for one in finding.examples] == [
        f"alerts failed: no space left (1 of {MOST_TRIES} tries)"
    ]
    with database.write() as tx:
        turn = schedules.take(tx, ALERTS, clock.now_ms() + 1, "someone", by_hand=True)
        assert turn is not None
        schedules.hand_back(tx, turn)
    assert doctored(settings, database).level is Level.OK


def test_a_killed_run(database: Database, settings: Settings, clock: FakeClock) -> None:
    """It is told as such, with whoever ran it; before its lease is over it is running."""
    due_jobs(settings, database)
    begin(database, ALERTS, clock.now_ms())
    [one] = [one for one in standings(settings, database) if one.job is ALERTS]
    assert view(one)["last_run"]["state"] == "running"
    clock.advance(LEASE_MS)
    with database.read() as tx:
        [row] = schedules.listed(tx, most=9)
    shown = run_view(row)
    assert (shown["state"], shown["owner"], shown["ended_at"]) == ("killed", "here/4711/abc", None)
    assert [one.detail for one in doctored(settings, database).examples] == [
        "alerts failed: whoever ran it was killed"
    ]


def test_by_hand(database: Database, settings: Settings, clock: FakeClock) -> None:
    """A job is run now, noted as due now, and refused while another runs it."""
    home = load_settings({"BATCHMILL_HOME": str(settings.home)}, None)
    assert run_by_hand(home, database, SWEEP, lambda: False) == {"lost_claims": 0, "unknown_attempts": 0}
    with database.read() as tx:
        [row] = schedules.listed(tx, SWEEP, most=9)
    assert (row.due_ms, row.detail) == (clock.now_ms(), {"lost_claims": 0, "unknown_attempts": 0})
    begin(database, SWEEP, clock.now_ms() + 1)
    with pytest.raises(ConflictError, match="sweep is being run by another right now"):
        run_by_hand(home, database, SWEEP, lambda: False)
    with pytest.raises(MisuseError, match='there is no job "sweeep"'):
        job_named("sweeep")
