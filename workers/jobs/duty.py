"""The duty of a maintenance worker: to ring for the jobs that are due, and to run one."""

import time
from datetime import UTC, datetime, timedelta

import structlog
from celery import current_app

from batchmill.alerts.message import utc_text
from batchmill.errors import BatchmillError
from batchmill.metering.families import JOB_DURATION
from batchmill.metering.tally import Tally
from batchmill.settings.schedules import JobName
from workers import child
from workers.app import MAINTENANCE
from workers.assembly import make_database
from workers.jobs.due import due_jobs
from workers.jobs.turn import FAILED, NOT_ITS_TURN, run_in_turn

log = structlog.get_logger()

RUN_JOB = "batchmill.run_job"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ring_due() -> str:
    """Ring for every job that is due; which, for whoever watches. A ring that nobody hears in time is worthless: the
    next one follows."""
    settings = child.current().duty.settings
    database = make_database(settings)
    try:
        due = due_jobs(settings, database)
        for job, due_ms in due.items():
            current_app.send_task(
                RUN_JOB,
                kwargs={"job": job.value, "due": utc_text(due_ms)},
                queue=MAINTENANCE,
                expires=settings.schedules.ring_s,
                retry=False,
            )
        return "due: " + (", ".join(due) or "nothing")
    except BatchmillError as error:
        log.error("due_jobs_not_found", code=error.code, error=error.message, hint=error.hint)
        return FAILED
    finally:
        database.close()


def run_job(name: str, due: str) -> str:
    """Run a job if it is its turn; what came of it, for whoever watches.

    Args:
        due: When it was due, ISO 8601 in UTC.
    """
    worker = child.current()
    settings = worker.duty.settings
    database = make_database(settings)
    begun_s = time.monotonic()
    try:
        due_ms = (datetime.fromisoformat(due) - _EPOCH) // timedelta(milliseconds=1)
        with worker.at_work():
            told = run_in_turn(settings, database, JobName(name), due_ms, stopping=worker.stopping)
    finally:
        database.close()
    if worker.recorder is not None and told != NOT_ITS_TURN:
        outcome = FAILED if told == FAILED else "done"
        tally = Tally()
        tally.spread(JOB_DURATION, name, outcome).note(time.monotonic() - begun_s)
        worker.recorder.record(tally)
    return told
