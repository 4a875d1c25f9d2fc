"""Whether what runs by itself does: beat rings, jobs that are due are run, and none goes wrong again and again."""

from datetime import tzinfo

from batchmill.alerts.message import utc_text
from batchmill.findings import Example, Finding, Level
from batchmill.periods import zone_of
from batchmill.settings import Settings
from batchmill.settings.schedules import JobName
from db import schedules
from db.engine import Database, Transaction
from db.schedules import MOST_TRIES, RunRow, RunState
from workers.jobs.registry import JOBS

LATE_MS = 60_000
"""Beside a ring, so late may a job begin before it counts as late."""

_OTHERS = tuple(job for job in JobName if job is not JobName.HEALTH)
"""Whoever checks cannot tell by being checked."""


def beat(settings: Settings, database: Database) -> Finding:
    """Whether jobs begin when they are due.

    Honest weakness: with beat or its workers gone, this check, a job itself, is not made either. Who reads what was
    last checked sees how old it is.
    """
    zone = zone_of(settings.budgets.timezone)
    with database.snapshot() as tx:
        is_any_known = bool(schedules.known(tx))
        last = schedules.last_runs(tx)
        late = _late(tx, settings, zone, last)
    begun_ms = max((run.started_ms for job, run in last.items() if job in _OTHERS), default=None)
    hint = "see that `batchmill beat` and a `batchmill worker --maintenance` run"
    if not is_any_known:
        message = "nothing that runs by itself has been rung for yet"
        return Finding(check="beat", level=Level.WARNING, message=message, hint=hint)
    message = "no job has begun yet" if begun_ms is None else f"the last job began {utc_text(begun_ms)}"
    if not late:
        return Finding(check="beat", level=Level.OK, message=f"{message}; none is late")
    return Finding(
        check="beat",
        level=Level.FAILURE if JobName.SWEEP in late else Level.WARNING,
        message=f"{message}; late: {', '.join(late)}",
        hint=hint,
    )


def jobs(settings: Settings, database: Database) -> Finding:
    """Whether the last run of each job that is on went well."""
    with database.read() as tx:
        last = schedules.last_runs(tx)
        now_ms = tx.now_ms
    zone = zone_of(settings.budgets.timezone)
    is_on = {job for job in _OTHERS if settings.schedules.of(job).last_due(now_ms, zone) is not None}
    failed = {job: run for job, run in last.items() if job in is_on and _has_failed(run)}
    if not failed:
        return Finding(check="jobs", level=Level.OK, message="the last run of every job went well")
    is_given_up = any(run.tries >= MOST_TRIES for run in failed.values())
    return Finding(
        check="jobs",
        level=Level.FAILURE if is_given_up else Level.WARNING,
        message=f"jobs that went wrong: {len(failed)}",
        examples=tuple(
            Example(
                detail=f"{job}, {'given up' if run.tries >= MOST_TRIES else 'to be tried again'}: {run.error}"
            )
            for job, run in sorted(failed.items())
        ),
        hint="the log of `batchmill worker --maintenance` says more; what was given up is due again at its next time",
    )


def _has_failed(run: RunRow) -> bool:
    """What was only stopped waits for nothing, and has tries left."""
    return run.state is RunState.FAILED and (run.next_try_ms > 0 or run.tries >= MOST_TRIES)


def _late(tx: Transaction, settings: Settings, zone: tzinfo, last: dict[str, RunRow]) -> list[JobName]:
    by_ms = tx.now_ms - LATE_MS - 1000 * settings.schedules.ring_s
    busy = schedules.busy(tx)
    is_long_one_run = any(job in busy for job in JOBS if not JOBS[job].is_quick)
    late: list[JobName] = []
    for job in (job for job in _OTHERS if job in JOBS):
        due_ms = settings.schedules.of(job).last_due(by_ms, zone)
        if due_ms is None or (is_long_one_run and not JOBS[job].is_quick):
            continue
        is_made_up_for = job in last and last[job].due_ms >= due_ms
        if not is_made_up_for and schedules.is_wanted(tx, job, due_ms):
            late.append(job)
    return late
