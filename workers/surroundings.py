"""The surroundings: database, broker, workers, sweep, schedules, disk, key, alerts, looked at without changing
anything."""

import socket
import time
from collections.abc import Callable, Iterator

from batchmill.alerts.delivery import DeliveryState
from batchmill.errors import BatchmillError, BrokerError, ProviderError, SettingsError
from batchmill.files.store import Store
from batchmill.findings import Example, Finding, Level
from batchmill.routing.resting import left_alone
from batchmill.settings import Settings
from batchmill.settings.values import mask_url
from db import circuits, files, health, schema
from db.alerts import undelivered
from db.audit import EXAMPLES
from db.engine import Database
from db.schedules import KILLED, MOST_TRIES
from workers.addresses import upstreams_of
from workers.alerts import half_set_up, make_channels
from workers.app import make_app
from workers.assembly import has_database, make_judge, require_account
from workers.attendance import is_served
from workers.broker import EmbeddedBroker
from workers.disk import scarcest
from workers.doorbell import Doorbell
from workers.roll import call_roll
from workers.timekeeping import Standing, is_at_home, is_time_kept, standings
from workers.views import time_text

SWEEP_STALE_MS = 60_000
LOOK_AGAIN_S = 2.0
MOST_FILES = 100
ABOUT_RESTING = (
    "lines for them wait, or go to their fallbacks; `batchmill providers health` shows whether it is the"
    " provider"
)


def on_this_machine(settings: Settings) -> Iterator[Finding]:
    """What needs no database."""
    yield _settings(settings)
    yield disk(settings)
    yield _key(settings)
    yield broker(settings)


def found(settings: Settings) -> Finding:
    """That the database is there, and of this code's schema; whoever got here has opened it."""
    where = mask_url(settings.database.url)
    if not has_database(settings):
        message = f"there is none yet: the first `batchmill run` makes {settings.database.path}"
    else:
        message = f"{where} is reachable and of schema {schema.newest()}"
    return Finding(check="database", level=Level.OK, message=message)


def not_found(error: BatchmillError) -> Finding:
    """That the database cannot be used, and why."""
    return Finding(check="database", level=Level.FAILURE, message=error.message, hint=error.hint)


def at_work(
    settings: Settings, database: Database, pause: Callable[[float], None] = time.sleep
) -> Iterator[Finding]:
    """Whether those who should be at work are."""
    yield _sweep(settings, database)
    yield _schedules(settings, database)
    yield _workers(settings, database)
    yield idle(settings, database, pause)
    yield _circuits(database)
    yield _alerts(settings, database)
    yield _files(settings, database)


def _files(settings: Settings, database: Database) -> Finding:
    """Whether the newest files of the service are where their rows say."""
    with database.snapshot() as tx:
        rows = files.newest(tx, MOST_FILES)
    if not rows:
        return Finding(check="files", level=Level.OK, message="the service keeps no files")
    try:
        store = Store(settings.service.store_url(settings.home))
        not_found = [row.public_id for row in rows if store.size(row.public_id) != row.bytes]
        with database.snapshot() as tx:  # those that are gone by now have been deleted meanwhile
            missing = [row for name in not_found if (row := files.named(tx, name)) is not None]
    except BatchmillError as error:
        return Finding(check="files", level=Level.WARNING, message=error.message, hint=error.hint)
    if not missing:
        return Finding(
            check="files", level=Level.OK, message=f"the newest files of the service are kept: {len(rows)}"
        )
    return Finding(
        check="files",
        level=Level.WARNING,
        message=f"{len(missing)} of the newest {len(rows)} files of the service are not in its store, or not whole",
        examples=tuple(Example(detail=f"{row.public_id}: {row.filename}") for row in missing[:EXAMPLES]),
        has_more=len(missing) > EXAMPLES,
        hint="ask on the machine that the service runs on, with its BATCHMILL_FILES_URL; or somebody has removed them",
    )


def _settings(settings: Settings) -> Finding:
    try:
        make_judge(settings)
    except SettingsError as error:
        return Finding(check="settings", level=Level.FAILURE, message=error.message, hint=error.hint)
    if settings.warnings:
        return Finding(check="settings", level=Level.WARNING, message="; ".join(settings.warnings))
    return Finding(check="settings", level=Level.OK, message="prices and times to live can be read")


def disk(settings: Settings) -> Finding:
    """Whether there is room where the mill writes."""
    try:
        space = scarcest(settings)
    except OSError as error:
        told = f"{error.filename} cannot be looked at: {error.strerror}"
        return Finding(check="disk", level=Level.WARNING, message=told, hint="check its permissions")
    is_full = space.free_bytes < settings.health.disk_full_bytes
    if not is_full and space.free_bytes >= settings.health.disk_low_bytes:
        return Finding(check="disk", level=Level.OK, message=space.in_words)
    hint = "free some space, or name another home with BATCHMILL_HOME; a full disk stops the work, and loses nothing"
    level = Level.FAILURE if is_full else Level.WARNING
    return Finding(check="disk", level=level, message=space.in_words, hint=hint)


def _key(settings: Settings) -> Finding:
    try:
        require_account(settings)
    except ProviderError as error:
        return Finding(check="key", level=Level.WARNING, message=error.message, hint=error.hint)
    return Finding(check="key", level=Level.OK, message=f"calls can go to {upstreams_of(settings).of_usable}")


def broker(settings: Settings) -> Finding:
    """Whether what carries the doorbells answers."""
    if settings.broker.url is None:
        return _embedded_broker(settings)
    try:
        Doorbell(make_app(settings.broker.url, as_current=False)).waiting("normal")
    except BrokerError as error:
        return Finding(check="broker", level=Level.FAILURE, message=error.message, hint=error.hint)
    return Finding(check="broker", level=Level.OK, message=f"{mask_url(settings.broker.url)} is reachable")


def _embedded_broker(settings: Settings) -> Finding:
    if EmbeddedBroker(settings.home).answers():
        return Finding(check="broker", level=Level.OK, message="the embedded one runs")
    if not is_served(settings):
        message = "the embedded one starts when a command needs it"
        return Finding(check="broker", level=Level.OK, message=message)
    return Finding(
        check="broker",
        level=Level.WARNING,
        message="the embedded one does not answer, although a worker is at work on this home",
        hint=f"it is started anew by itself; if it is not, see {settings.home / 'broker' / 'broker.log'}",
    )


def _sweep(settings: Settings, database: Database) -> Finding:
    with database.snapshot() as tx:
        now = health.sweeping(tx)
    last = (
        "there was none yet" if now.age_ms is None else f"the last one ended {now.age_ms / 1000:,.0f} s ago"
    )
    message = f"{last}; unfinished batches that count on it: {now.unfinished}"
    is_stale = now.unfinished > 0 and (now.age_ms is None or now.age_ms > SWEEP_STALE_MS)
    if not is_stale and not now.lost_claims:
        return Finding(check="sweep", level=Level.OK, message=message)
    if now.lost_claims:
        message += f"; claims of lost workers not taken back: {now.lost_claims}"
    hint = (
        "`batchmill worker` sweeps while it works, and so does `batchmill run`: start the one whose batch is unfinished"
        if settings.broker.is_embedded
        else "see that `batchmill beat` and a `batchmill worker --maintenance` run"
    )
    return Finding(check="sweep", level=Level.WARNING, message=message, hint=hint)


def _schedules(settings: Settings, database: Database) -> Finding:
    """Whether what runs by itself does, and goes well."""
    found, is_kept = standings(settings, database), is_time_kept(settings, database)
    failed = [f"{one.job} failed: {why_failed(one)}" for one in found if one.has_failed]
    late = [f"{one.job} is due since {time_text(one.late_since_ms)}" for one in found if one.late_since_ms]
    if is_kept is None:
        late = []
    is_forgotten = bool(late) or (is_kept is False and settings.broker.url is not None)
    if not failed and not is_forgotten:
        told = {
            True: "what is due is run in time",
            False: "nobody has kept time yet, and nobody need",
            None: "what is due is run while `batchmill up` or `batchmill worker` runs",
        }
        return Finding(check="schedules", level=Level.OK, message=told[is_kept])
    hint = "`batchmill schedules list` shows all"
    if is_forgotten:
        hint = (
            "look at what `batchmill up` or `batchmill worker` says"
            if is_at_home(settings)
            else "see that `batchmill beat` and a `batchmill worker --maintenance` run"
        )
    examples = [*late, *failed]
    return Finding(
        check="schedules",
        level=Level.WARNING,
        message="nobody runs what is due" if is_forgotten else f"jobs whose last run failed: {len(failed)}",
        examples=tuple(Example(detail=detail) for detail in examples[:EXAMPLES]),
        has_more=len(examples) > EXAMPLES,
        hint=hint,
    )


def why_failed(standing: Standing) -> str:
    """Why the last run of a job, which did, has failed."""
    assert standing.last is not None
    if standing.last.is_killed:
        return KILLED
    return f"{standing.last.error} ({standing.last.tries} of {MOST_TRIES} tries)"


def _workers(settings: Settings, database: Database) -> Finding:
    roll, host = call_roll(settings, database), socket.gethostname()
    dead = roll.dead
    message = f"{roll.alive} alive in this home on {host}, {len(dead)} dead, {roll.elsewhere} elsewhere"
    if not dead:
        return Finding(check="workers", level=Level.OK, message=message)
    return Finding(
        check="workers",
        level=Level.WARNING,
        message=message,
        examples=tuple(Example(detail=f"worker {worker} is dead") for worker in dead[:EXAMPLES]),
        has_more=len(dead) > EXAMPLES,
        hint="nothing is lost: the next command or sweep takes back what they held",
    )


def idle(
    settings: Settings,
    database: Database,
    pause: Callable[[float], None] = time.sleep,
    *,
    submitted: Level = Level.WARNING,
) -> Finding:
    """Whether somebody works on what there is to do.

    Args:
        submitted: How bad it is if not; of batches that only wait for their own command it is a warning.
    """
    with database.snapshot() as tx:
        first = {row.public_id: row for row in health.idle(tx)}
    if first:
        pause(LOOK_AGAIN_S)  # a worker may just have been between two claims
        with database.snapshot() as tx:
            first = {row.public_id: row for row in health.idle(tx) if row.public_id in first}
    if not first:
        return Finding(check="work", level=Level.OK, message="nothing lies about that nobody works on")
    examples = tuple(
        Example(batch=name, detail=f"in lane {row.lane}, meant for {row.upstream or 'any provider'}")
        for name, row in list(first.items())[:EXAMPLES]
    )
    owned = any(row.output_path for row in first.values())
    is_all_owned = all(row.output_path for row in first.values())
    hint = (
        "run the command of that batch again: it goes on"
        if owned
        else "start a `batchmill worker` with the same DATABASE_URL and OPENAI_BASE_URL"
    )
    return Finding(
        check="work",
        level=Level.WARNING if is_all_owned else submitted,
        message=f"batches with work that nobody claims: {len(first)}",
        examples=examples,
        has_more=len(first) > EXAMPLES,
        hint=hint,
    )


def _circuits(database: Database) -> Finding:
    with database.snapshot() as tx:
        resting, now_ms = left_alone(circuits.read(tx), tx.now_ms), tx.now_ms
    if not resting:
        return Finding(check="circuits", level=Level.OK, message="no model is left alone for failing")
    return Finding(
        check="circuits",
        level=Level.WARNING,
        message=f"models that do not answer and are left alone: {len(resting)}",
        examples=tuple(
            Example(detail=f"{one.target.name} {one.in_words(now_ms)}") for one in resting[:EXAMPLES]
        ),
        has_more=len(resting) > EXAMPLES,
        hint=ABOUT_RESTING,
    )


def _alerts(settings: Settings, database: Database) -> Finding:
    with database.snapshot() as tx:
        counted = undelivered(tx)
    try:
        names = ", ".join(channel.name for channel in make_channels(settings))
    except SettingsError as error:
        return Finding(check="alerts", level=Level.FAILURE, message=error.message, hint=error.hint)
    lacking = [f"{channel} lacks {variable}" for channel, variable in half_set_up(settings).items()]
    waiting, given_up = counted.get(DeliveryState.PENDING, 0), counted.get(DeliveryState.GIVEN_UP, 0)
    if waiting or given_up:
        lacking.append(f"not delivered so far: {waiting}, given up: {given_up}")
    message = "; ".join([f"they go to: {names}", *lacking])
    if not lacking:
        return Finding(check="alerts", level=Level.OK, message=message)
    hint = "`batchmill alerts list` shows which and why, `batchmill alerts test` tries every channel"
    return Finding(check="alerts", level=Level.WARNING, message=message, hint=hint)
