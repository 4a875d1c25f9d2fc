"""What is due now."""

from collections.abc import Mapping

from batchmill.periods import zone_of
from batchmill.settings import Settings
from batchmill.settings.schedules import JobName
from db import schedules
from db.engine import Database
from workers.jobs.registry import JOBS, Job, long_ones


def due_jobs(
    settings: Settings, database: Database, jobs: Mapping[JobName, Job] = JOBS
) -> dict[JobName, int]:
    """The jobs that are due and wanted, with their due times, in the order of `JobName`; of the long ones only the
    first, and none while one of them is being run."""
    now_ms, zone = database.now_ms(), zone_of(settings.budgets.timezone)
    times = {job: settings.schedules.of(job).last_due(now_ms, zone) for job in JobName if job in jobs}
    last = {job: due_ms for job, due_ms in times.items() if due_ms is not None}
    _hear_of(database, last)
    with database.read() as tx:
        busy = schedules.busy(tx)
        wanted = {job: due_ms for job, due_ms in last.items() if schedules.is_wanted(tx, job, due_ms)}
    long = [job for job in wanted if not jobs[job].is_quick]
    left_out = long if busy & long_ones(jobs) else long[1:]
    return {job: due_ms for job, due_ms in wanted.items() if job not in left_out}


def _hear_of(database: Database, jobs: Mapping[JobName, int]) -> None:
    with database.read() as tx:
        unheard = jobs.keys() - schedules.known(tx).keys()
    if unheard:
        database.persist(lambda tx: schedules.hear_of(tx, sorted(unheard)))
