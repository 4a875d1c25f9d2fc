"""The keeper: runs what is due beside the work of an embedded mill, which needs no beat."""

from collections.abc import Mapping
from functools import partial

import structlog

from batchmill.errors import BatchmillError
from batchmill.settings import Settings
from batchmill.settings.schedules import JobName
from db.engine import Database
from workers.beside import Beside
from workers.jobs.due import due_jobs
from workers.jobs.registry import JOBS, Job
from workers.jobs.turn import NOT_ITS_TURN, run_in_turn

log = structlog.get_logger()

FIRST_LOOK_S = 1.0
LAST_WAIT_S = 5.0


class Keeper(Beside):
    """Keeps time for as long as the context lasts: quick jobs in one thread, long ones in another.

    What the mill does by itself is left to it. At the end a job that is being run is told to stop, and waited for a
    few seconds at most, not at all where a second signal ends the command at once: it goes on at the next start.

    Args:
        jobs: Those there are.
        first_look_s: How long the first look waits, for commands that end at once.
        last_wait_s: How long the end waits for a job.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        jobs: Mapping[JobName, Job] = JOBS,
        first_look_s: float = FIRST_LOOK_S,
        last_wait_s: float = LAST_WAIT_S,
    ) -> None:
        self._settings = settings
        self._database = database
        self._jobs = {name: job for name, job in jobs.items() if not job.is_of_mill}
        self._first_look_s = first_look_s
        super().__init__(
            {"jobs-quick": partial(self._work, True), "jobs-long": partial(self._work, False)},
            last_wait_s=last_wait_s,
        )

    def _work(self, is_quick: bool) -> None:
        pause_s = self._first_look_s
        while not self.ending.wait(pause_s):
            # What has waited for a job that is done now need not wait for the next look.
            pause_s = 0.0 if self._run_due(is_quick) else self._settings.schedules.ring_s

    def _run_due(self, is_quick: bool) -> bool:
        """Run what is due of one kind; whether any of it was run."""
        has_run = False
        for job, due_ms in self._due().items():
            if self._jobs[job].is_quick is is_quick and not self.ending.is_set():
                has_run |= self._run(job, due_ms)
        return has_run

    def _run(self, job: JobName, due_ms: int) -> bool:
        told = run_in_turn(
            self._settings, self._database, job, due_ms, stopping=self.ending.is_set, jobs=self._jobs
        )
        return told != NOT_ITS_TURN

    def _due(self) -> dict[JobName, int]:
        try:
            return due_jobs(self._settings, self._database, self._jobs)
        except BatchmillError as error:
            # The database is away; the command itself says so, if that matters.
            log.debug("due_jobs_not_found", code=error.code, error=error.message)
        except Exception as error:  # a thread that ended here would keep time no more, unnoticed
            log.error("due_jobs_not_found", error=f"unexpected {type(error).__name__}: {error}")
        return {}
