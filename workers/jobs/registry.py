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
        meaning="delivers the alerts that are owed",
        is_quick=True,
        is_of_mill=True,
    ),
    JobName.TRAINING_EXPORT: Job(
        module="workers.jobs.training_export",
        meaning="exports training data, where answers are marked for it",
    ),
}
