"""What is looked at: a check for each component, whose findings the doctor has for the most part as well."""

import time
from collections.abc import Callable
from functools import partial

from batchmill.findings import Finding, Level
from batchmill.providers.names import ProviderName
from batchmill.requests.model import Lane
from batchmill.routing.resting import left_alone
from batchmill.settings import Settings
from batchmill.settings.values import mask_url
from db import circuits, health, schema
from db.engine import Database
from workers import surroundings
from workers.health import keeping
from workers.provider_health import check_providers

PROVIDER, QUEUE, DISK = "provider:", "queue:", "disk:"

Check = Callable[[], Finding]

PROVIDER_WITHIN_S = 8.0
SLOW_MS = 1_000
LARGE_WAL_BYTES = 1_000_000_000
"""SQLite begins its write-ahead log anew at every chance: so large, a reader has kept it from that for long."""
MB = 1_000_000


def checks_of(settings: Settings, database: Database, host: str) -> dict[str, Check]:
    """By component how it is looked at. Each check may raise, and may take its time.

    Where the mill is embedded there is no beat: the mill keeps time itself.

    Args:
        host: This machine: each has disks of its own.
    """
    checks: dict[str, Check] = {
        "database": partial(_database, settings, database),
        "broker": partial(surroundings.broker, settings),
        "workers": partial(surroundings.idle, settings, database, submitted=Level.FAILURE),
        "jobs": partial(keeping.jobs, settings, database),
        f"{DISK}{host}": partial(surroundings.disk, settings),
    }
    if not settings.broker.is_embedded:
        checks["beat"] = partial(keeping.beat, settings, database)
    for lane in Lane:
        checks[f"{QUEUE}{lane}"] = partial(_queue, settings, database, lane)
    for name, account in settings.providers.items():
        if account.is_usable:
            checks[f"{PROVIDER}{name}"] = partial(_provider, settings, database, name)
    return checks


def _database(settings: Settings, database: Database) -> Finding:
    begun = time.monotonic()
    schema.check(database)
    took_ms = round((time.monotonic() - begun) * 1000)
    message = f"{mask_url(settings.database.url)} answers in {took_ms} ms"
    trouble = [] if took_ms < SLOW_MS else ["it is slow: see what else its server or disk is busy with"]
    path = settings.database.path
    if path is not None:
        wal = path.with_name(f"{path.name}-wal")
        size = wal.stat().st_size if wal.exists() else 0
        message += f"; its write-ahead log has {size / MB:,.1f} MB"
        if size > LARGE_WAL_BYTES:
            trouble.append(
                "some program has been reading for long and keeps the log from being emptied: end it"
            )
    level = Level.WARNING if trouble else Level.OK
    return Finding(check="database", level=level, message=message, hint="; ".join(trouble))


def _queue(settings: Settings, database: Database, lane: Lane) -> Finding:
    with database.read() as tx:
        wait = health.waits(tx)[lane]
    most_ms, waited = settings.health.wait_ms(lane), _seconds(wait.unserved_ms)
    if wait.unserved_ms <= most_ms:
        longest = f"the longest wait is {_seconds(wait.longest_ms)}" if wait.longest_ms else "nothing waits"
        return Finding(check="queue", level=Level.OK, message=longest)
    return Finding(
        check="queue",
        level=Level.WARNING,
        message=f"requests that nobody serves have waited {waited}, which is more than {_seconds(most_ms)}",
        hint=f"see that workers run which serve lane {lane}: `batchmill worker --lanes {lane}` starts another",
    )


def _provider(settings: Settings, database: Database, name: ProviderName) -> Finding:
    check = check_providers(settings, database, frozenset({name}), timeout_s=PROVIDER_WITHIN_S)[name]
    if not check.is_ok:
        message = f"{check.error_code}: {check.error_message}"
        hint = f"`batchmill providers health {name}` asks again; lines for it wait, or go to their fallbacks"
        return Finding(check="provider", level=Level.FAILURE, message=message, hint=hint)
    with database.read() as tx:
        resting = [one for one in left_alone(circuits.read(tx), tx.now_ms) if one.target.provider == name]
    message = f"{mask_url(check.upstream)} answers in {check.latency_ms} ms"
    if not resting:
        return Finding(check="provider", level=Level.OK, message=message)
    models = ", ".join(one.target.model for one in resting)
    return Finding(
        check="provider",
        level=Level.WARNING,
        message=f"{message}, but models of it do not and are left alone: {models}",
        hint=surroundings.ABOUT_RESTING,
    )


def _seconds(ms: int) -> str:
    return f"{ms / 1000:,.0f} s"
