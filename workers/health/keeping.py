"""Whether what runs by itself does: beat rings, jobs that are due are run, and none goes wrong again and again."""

from batchmill.findings import Example, Finding, Level
from batchmill.settings import Settings
from batchmill.settings.schedules import JobName
from db.engine import Database
from db.schedules import MOST_TRIES
from workers.surroundings import why_failed
from workers.timekeeping import Standing, is_time_kept, standings
from workers.views import time_text


def beat(settings: Settings, database: Database) -> Finding:
    """Whether jobs begin when they are due.

    Honest weakness: with beat or its workers gone, this check, a job itself, is not made either. Who reads what was
    last checked sees how old it is.
    """
    found = _others(settings, database)
    late = {one.job: one.late_since_ms for one in found if one.late_since_ms is not None}
    begun_ms = max((one.last.started_ms for one in found if one.last is not None), default=None)
    hint = "see that `batchmill beat` and a `batchmill worker --maintenance` run"
    if not is_time_kept(settings, database):
        message = "nothing that runs by itself has been rung for yet"
        return Finding(check="beat", level=Level.WARNING, message=message, hint=hint)
    message = "no job has begun yet" if begun_ms is None else f"the last job began {time_text(begun_ms)}"
    if not late:
        return Finding(check="beat", level=Level.OK, message=f"{message}; none is late")
    return Finding(
        check="beat",
        level=Level.FAILURE if JobName.SWEEP in late else Level.WARNING,
        message=f"{message}; jobs that are late: {len(late)}",
        examples=tuple(Example(detail=f"{job} since {time_text(ms)}") for job, ms in late.items()),
        hint=hint,
    )


def jobs(settings: Settings, database: Database) -> Finding:
    """Whether the last run of each job that is on went well."""
    failed = [one for one in _others(settings, database) if one.next_due_ms is not None and one.has_failed]
    if not failed:
        return Finding(check="jobs", level=Level.OK, message="the last run of every job went well")
    is_given_up = any(one.last is not None and one.last.tries >= MOST_TRIES for one in failed)
    return Finding(
        check="jobs",
        level=Level.FAILURE if is_given_up else Level.WARNING,
        message=f"jobs whose last run failed: {len(failed)}",
        examples=tuple(Example(detail=f"{one.job}: {why_failed(one)}") for one in failed),
        hint="`batchmill schedules list` shows all; what was given up is due again at its next time",
    )


def _others(settings: Settings, database: Database) -> list[Standing]:
    """All but the checks themselves: whoever checks cannot tell by being checked."""
    return [one for one in standings(settings, database) if one.job is not JobName.HEALTH]
