"""Which jobs there are, and how each is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from batchmill.settings.schedules import JobName
from workers.jobs.run import Detail, JobRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job.

    Attributes:
        module: Has `run(run: JobRun) -> Detail`; imported when it is run.
        meaning: What it does, in a line.
        is_quick: It takes seconds at most. Of the others one runs at a time, so that quick ones never wait for them.
        is_of_mill: An embedded mill does it by itself, all the time.
    """

    module: str
    meaning: str
    is_quick: bool = False
    is_of_mill: bool = False

    def run(self, run: JobRun) -> Detail:
        """Do it."""
        detail: Detail = import_module(self.module).run(run)
        return detail


JOBS: Mapping[JobName, Job] = {
    JobName.SWEEP: Job(
        module="workers.jobs.sweep",
        meaning="puts right what died half-way, ends what is overdue, rings for what waits",
        is_quick=True,
        is_of_mill=True,
    ),
    JobName.ALERTS: Job(
        module="workers.jobs.alerts",
        meaning="delivers the alerts that are owed, and reports that could not be mailed at once",
        is_quick=True,
        is_of_mill=True,
    ),
    JobName.HEALTH: Job(
        module="workers.jobs.health",
        meaning="checks every component, and tells of what has changed",
        is_quick=True,
    ),
    JobName.USAGE_REPORT: Job(
        module="workers.jobs.usage_report",
        meaning="makes the report of the day before, and mails it to ADMIN_EMAILS",
    ),
    JobName.WEEKLY_REPORT: Job(
        module="workers.jobs.weekly_report",
        meaning="makes the report of the week before, and mails it to ADMIN_EMAILS",
    ),
    JobName.RETENTION: Job(
        module="workers.jobs.retention",
        meaning="removes what has been kept long enough, and adds old entries of the ledger up to daily rows",
    ),
    JobName.TRAINING_EXPORT: Job(
        module="workers.jobs.training_export",
        meaning="exports training data, where answers are marked for it",
    ),
    JobName.CACHE_CLEANUP: Job(
        module="workers.jobs.cache_cleanup",
        meaning="drops what has expired from the cache, then what is worth least down to its size",
    ),
}


def long_ones(jobs: Mapping[JobName, Job] = JOBS) -> frozenset[str]:
    """The jobs of which one at a time is run."""
    return frozenset(name for name, job in jobs.items() if not job.is_quick)
