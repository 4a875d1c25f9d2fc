"""A job in its turn, for those who run jobs as they come due: what goes wrong is noted and logged, and stops none."""

from collections.abc import Callable, Mapping

import structlog

from batchmill.alerts.message import utc_text
from batchmill.errors import BatchmillError
from batchmill.settings import Settings
from batchmill.settings.schedules import JobName
from db.engine import Database
from db.schedules import LEASE_MS, SHORT_LEASE_MS
from workers.jobs.registry import JOBS, Job, long_ones
from workers.jobs.run import Detail, perform

log = structlog.get_logger()

FAILED = "failed"
NOT_ITS_TURN = "not its turn"


def run_in_turn(
    settings: Settings,
    database: Database,
    job: JobName,
    due_ms: int,
    *,
    stopping: Callable[[], bool],
    jobs: Mapping[JobName, Job] = JOBS,
) -> str:
    """Run a job if it is its turn; what came of it, for whoever watches."""
    due, is_quick = utc_text(due_ms), jobs[job].is_quick
    try:
        detail = perform(
            settings,
            database,
            job,
            due_ms,
            jobs[job].run,
            stopping=stopping,
            not_beside=() if is_quick else long_ones(jobs),
            lease_ms=SHORT_LEASE_MS if is_quick else LEASE_MS,
        )
    except BatchmillError as error:
        log.error("job_failed", job=job.value, due=due, code=error.code, error=error.message, hint=error.hint)
        return FAILED
    except Exception as error:
        log.exception(
            "job_failed", job=job.value, due=due, error=f"unexpected {type(error).__name__}: {error}"
        )
        return FAILED
    if detail is None:
        return NOT_ITS_TURN
    say = log.debug if is_quick else log.info
    say("job_done", job=job.value, due=due, detail=dict(detail))
    return in_words(detail) or "done"


def in_words(detail: Detail) -> str:
    """What came of a run, in a line: `lost claims: 0, unknown attempts: 2`."""
    return ", ".join(f"{str(key).replace('_', ' ')}: {_value(value)}" for key, value in detail.items())


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else "none" if value is None else str(value)
