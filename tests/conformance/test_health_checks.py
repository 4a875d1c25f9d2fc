"""What the checks of the mill's own parts see, on both databases: queues, beat, jobs; and the job that makes them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from batchmill.alerts.message import Topic
from batchmill.findings import Finding, Level
from batchmill.health.course import HealthLevel
from batchmill.requests.model import Lane
from batchmill.settings import Settings, load_settings
from batchmill.settings.schedules import JobName
from db import alerts, batches, health, health_states, schedules, tables
from db.engine import Database
from db.health import Wait
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch
from tests.support.ports import free_port
from tests.support.provider_servers import http
from tests.support.receivers import served
from workers import surroundings
from workers.health import keeping
from workers.health.checks import checks_of
from workers.health.standing import last_checked, seen_now
from workers.jobs import health as job
from workers.jobs.run import JobRun

MINUTE_MS = 60_000
SHARED = {
    "BROKER_URL": "redis://127.0.0.1:9",
    "BATCHMILL_AT_ALERTS": "off",
    "BATCHMILL_AT_SWEEP": "every 10s",
}


def waits(database: Database) -> dict[Lane, Wait]:
    with database.read() as tx:
        return health.waits(tx)


def shared(settings: Settings, **environ: str) -> Settings:
    """The same installation grown up: with a broker of its own, which nobody needs to reach here."""
    return load_settings(settings.to_environ() | SHARED | environ, None)


def queue(settings: Settings, database: Database, lane: Lane = Lane.NORMAL) -> Finding:
    return checks_of(settings, database, "here")[f"queue:{lane}"]()


def test_how_long_requests_wait(database: Database, clock: FakeClock) -> None:
    """By lane, from when their batch began; served as long as somebody is at work for the same lane and tenant."""
    add_batch(database, 4, tenant="acme")
    clock.advance(MINUTE_MS)
    add_batch(database, 1, tenant="acme")
    add_batch(database, 1, tenant="other", lane=Lane.LOW)
    clock.advance(MINUTE_MS)
    assert waits(database) == {
        Lane.HIGH: Wait(),
        Lane.NORMAL: Wait(longest_ms=2 * MINUTE_MS, unserved_ms=2 * MINUTE_MS),
        Lane.LOW: Wait(longest_ms=MINUTE_MS, unserved_ms=MINUTE_MS),
    }
    Worker(database).take(2)
    assert waits(database)[Lane.NORMAL] == Wait(longest_ms=2 * MINUTE_MS, unserved_ms=0)
    clock.advance(MINUTE_MS)  # its lease runs out
    assert waits(database)[Lane.NORMAL].unserved_ms == 3 * MINUTE_MS


def test_what_is_paused_waits_for_somebody_else(database: Database, clock: FakeClock) -> None:
    """By hand or for a budget: it is no wait for workers."""
    batch = add_batch(database, 1)
    with database.write() as tx:
        batches.pause(tx, batch, "by hand")
    clock.advance(MINUTE_MS)
    assert waits(database)[Lane.NORMAL] == Wait()


def test_what_waits_for_its_next_try_is_not_waiting(database: Database, clock: FakeClock) -> None:
    """Handed back for limits or a retry, it cannot be claimed before its time; from then on it waits."""
    add_batch(database, 1)
    worker = Worker(database)
    worker.hand_back(*worker.take(), delay_ms=2 * MINUTE_MS)
    clock.advance(MINUTE_MS)
    assert waits(database)[Lane.NORMAL] == Wait()
    clock.advance(2 * MINUTE_MS)
    assert waits(database)[Lane.NORMAL] == Wait(longest_ms=MINUTE_MS, unserved_ms=MINUTE_MS)


def test_a_queue_that_nobody_serves(settings: Settings, database: Database, clock: FakeClock) -> None:
    """Well up to what is set for its lane; then it says how long, and what to start."""
    strict = load_settings(settings.to_environ() | {"BATCHMILL_QUEUE_WAIT_NORMAL_S": "120"}, None)
    add_batch(database, 1)
    clock.advance(2 * MINUTE_MS)
    assert queue(strict, database).level is Level.OK
    clock.advance(1_000)
    finding = queue(strict, database)
    assert (finding.level, "121 s" in finding.message) == (Level.WARNING, True)
    assert "--lanes normal" in finding.hint
    assert queue(settings, database).level is Level.OK
    assert queue(strict, database, Lane.HIGH).level is Level.OK


def test_work_that_nobody_does(settings: Settings, database: Database, clock: FakeClock) -> None:
    """What only waits for its own command is a warning; what was handed in and lies about is a failure."""

    def idle() -> Level:
        return surroundings.idle(settings, database, lambda _: None, submitted=Level.FAILURE).level

    batch = add_batch(database, 1)
    with database.write() as tx:
        tx.run(update(tables.batches).where(tables.batches.c.id == batch).values(output_path="/out"))
    clock.advance(MINUTE_MS)
    assert idle() is Level.WARNING
    add_batch(database, 1)
    clock.advance(MINUTE_MS)
    assert idle() is Level.FAILURE


def test_a_provider_whose_models_rest(settings: Settings, database: Database) -> None:
    """It answers, and yet not everything asked of it is answered: degraded, with the names of the models."""
    row = {"provider": "local", "model": "llama", "state": "open", "failures": 10, "opened_times": 1}
    times = {"open_until_ms": 1 << 42, "probe_until_ms": 0, "counts_from_ms": 1, "cause": "failing"}
    with database.write() as tx:
        tx.run(insert(tables.circuits).values(**row, **times, reason="status 500"))
    with listing_models() as url:
        mine = load_settings(settings.to_environ() | {"LOCAL_BASE_URL": url}, None)
        finding = checks_of(mine, database, "here")["provider:local"]()
    assert (finding.level, finding.message.endswith("are left alone: llama")) == (Level.WARNING, True)


@contextmanager
def listing_models() -> Iterator[str]:
    """A provider that is there; its address."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(200, b'{"object":"list","data":[]}'))
        await writer.drain()
        writer.close()

    port = free_port()
    with served(lambda: asyncio.start_server(meet, "127.0.0.1", port)):
        yield f"http://127.0.0.1:{port}/v1"


def begin(database: Database, name: JobName, due_ms: int, error: str | None = None) -> None:
    """A run of a job, to its end."""
    with database.write() as tx:
        turn = schedules.take(tx, name, due_ms, "me", by_hand=True)
    assert turn is not None
    with database.write() as tx:
        schedules.finish(tx, turn, {}) if error is None else schedules.fail(tx, turn, error)


def test_beat_has_never_rung(settings: Settings, database: Database) -> None:
    """Nobody has heard of any job: nothing that runs by itself does."""
    finding = keeping.beat(shared(settings), database)
    assert (finding.level, "batchmill beat" in finding.hint) == (Level.WARNING, True)


def test_jobs_that_do_not_begin_when_they_are_due(
    settings: Settings, database: Database, clock: FakeClock
) -> None:
    """A little late is in order; later than that it is named, and without the sweep the mill fails."""
    mine = shared(settings)
    begin(database, JobName.SWEEP, clock.now_ms())
    clock.advance(MINUTE_MS)
    assert keeping.beat(mine, database).level is Level.OK
    clock.advance(2 * MINUTE_MS)
    finding = keeping.beat(mine, database)
    assert (finding.level, finding.examples[0].detail.split()[0]) == (Level.FAILURE, "sweep")
    begin(database, JobName.SWEEP, clock.now_ms())  # what lies between is not made up for
    assert keeping.beat(mine, database).level is Level.OK
    off = shared(settings, BATCHMILL_AT_SWEEP="off")
    clock.advance(10 * MINUTE_MS)
    assert keeping.beat(off, database).level is Level.OK


def test_a_job_that_goes_wrong(settings: Settings, database: Database, clock: FakeClock) -> None:
    """Named with the reason while it is tried again, worse once it is given up, and no longer once it went well."""
    mine, due_ms = shared(settings), clock.now_ms()
    for tries in range(1, schedules.MOST_TRIES + 1):
        begin(database, JobName.SWEEP, due_ms, "no room")
        finding = keeping.jobs(mine, database)
        assert finding.level is (Level.FAILURE if tries == schedules.MOST_TRIES else Level.WARNING)
        assert finding.examples[0].detail == f"sweep: no room ({tries} of 5 tries)"
        clock.advance(60 * MINUTE_MS)
    off = shared(settings, BATCHMILL_AT_SWEEP="off")
    assert keeping.jobs(off, database).level is Level.OK
    begin(database, JobName.SWEEP, clock.now_ms())
    assert keeping.jobs(mine, database).level is Level.OK


def test_a_job_that_was_told_to_stop_is_no_failure(
    settings: Settings, database: Database, clock: FakeClock
) -> None:
    """Its worker ends; another begins it at once."""
    with database.write() as tx:
        turn = schedules.take(tx, JobName.SWEEP, clock.now_ms(), "me", by_hand=True)
        assert turn is not None
        schedules.hand_back(tx, turn)
    assert keeping.jobs(settings, database).level is Level.OK


@pytest.mark.parametrize("environ", [{}, SHARED])
def test_beat_is_looked_for_where_there_is_one(
    settings: Settings, database: Database, environ: dict[str, str]
) -> None:
    """An embedded mill keeps time itself. Every lane has a check, and every provider that can be called."""
    mine = load_settings(settings.to_environ() | environ | {"LOCAL_BASE_URL": "http://127.0.0.1:9/v1"}, None)
    checks = checks_of(mine, database, "here")
    assert ("beat" in checks) is bool(environ)
    assert {"database", "broker", "workers", "jobs", "disk:here", "queue:low", "provider:local"} <= set(
        checks
    )
    assert "provider:openai" not in checks


def run_job(settings: Settings, database: Database, clock: FakeClock) -> dict[str, object]:
    clock.advance(5 * MINUTE_MS)
    return dict(
        job.run(JobRun(job=JobName.HEALTH, due_ms=clock.now_ms(), settings=settings, database=database))
    )


def test_the_job_notes_and_tells(settings: Settings, database: Database, clock: FakeClock) -> None:
    """A provider that is not there: failing at the first run, told at the second; forgotten with its address."""
    ill = load_settings(settings.to_environ() | {"LOCAL_BASE_URL": "http://127.0.0.1:9/v1"}, None)
    assert run_job(ill, database, clock)["failing"] == "provider:local"
    standing = last_checked(ill, database)
    assert (standing.components[0].component, standing.is_well) == ("provider:local", False)
    with database.read() as tx:
        assert alerts.listed(tx, most=9) == []
    assert run_job(ill, database, clock)["told"] == "provider:local"
    with database.read() as tx:
        [(alert, _)] = alerts.listed(tx, Topic.HEALTH, most=9)
    assert alert.verdict.startswith("provider local is failing: connect_failed: ")
    assert run_job(settings, database, clock).keys() == {"ok"}
    assert last_checked(settings, database).is_well


def test_a_look_notes_nothing(settings: Settings, database: Database) -> None:
    """Who looks from elsewhere, with other settings, changes no state and sends no alert."""
    ill = load_settings(settings.to_environ() | {"LOCAL_BASE_URL": "http://127.0.0.1:9/v1"}, None)
    for _ in range(2):
        seen = seen_now(ill, database)
    assert (seen.components[0].level, seen.is_well) == (HealthLevel.FAILING, False)
    with database.read() as tx:
        assert (health_states.states(tx), alerts.listed(tx, most=9)) == ([], [])


def test_nobody_checks_any_more(settings: Settings, database: Database, clock: FakeClock) -> None:
    """Two times missed, and a minute: what was last seen to be well is not known to be so any more."""
    assert last_checked(settings, database).is_overdue
    run_job(settings, database, clock)
    clock.advance(10 * MINUTE_MS)
    assert last_checked(settings, database).is_well
    clock.advance(2 * MINUTE_MS)
    assert not last_checked(settings, database).is_well
    off = load_settings(settings.to_environ() | {"BATCHMILL_AT_HEALTH": "off"}, None)
    assert last_checked(off, database).is_well


def test_a_disk_that_runs_full(settings: Settings, tmp_path: Path, database: Database) -> None:
    """Degraded below the one setting, failing below the other; the doctor says the same."""
    plenty = "1000000000"
    for name, level in (("BATCHMILL_DISK_LOW_MB", Level.WARNING), ("BATCHMILL_DISK_FULL_MB", Level.FAILURE)):
        mine = load_settings(settings.to_environ() | {"BATCHMILL_DISK_LOW_MB": plenty, name: plenty}, None)
        finding = checks_of(mine, database, "here")["disk:here"]()
        assert (finding.level, str(tmp_path) in finding.message) == (level, True)
