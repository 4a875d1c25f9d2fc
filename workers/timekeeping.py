"""How it stands with what runs by itself: when each job is due, how its last run went, whether anybody keeps time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from batchmill.errors import ConflictError, MisuseError, StoppedError
from batchmill.periods import zone_of
from batchmill.settings import Settings
from batchmill.settings.schedules import JobName
from batchmill.timetable import Timetable
from db import health, schedules
from db.engine import Database
from db.schedules import LEASE_MS, RunRow, RunState
from workers import attendance
from workers.jobs.registry import JOBS, Job, long_ones
from workers.jobs.run import Detail, JobRun, perform
from workers.jobs.turn import in_words
from workers.views import time_text

PATIENCE_MS = 120_000
RINGS_OF_PATIENCE = 12
"""After so many rings that nobody answered, and `PATIENCE_MS` at the least, what is due is late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How it stands with a job.

    Attributes:
        next_due_ms: None = never.
        last: Its run of the latest due time; None = there was none.
        note: What is to be said where the mill does it by itself; "" elsewhere.
        late_since_ms: Since when somebody should have run it and nobody has; None where all is well.
    """

    job: JobName
    meaning: str
    times: Timetable
    next_due_ms: int | None
    last: RunRow | None
    note: str = ""
    late_since_ms: int | None = None

    @property
    def has_failed(self) -> bool:
        """Whether its last run went wrong, or whoever ran it was killed; not one that was told to stop."""
        last = self.last
        return last is not None and (last.is_killed or (last.state is RunState.FAILED and last.tries > 0))


def standings(settings: Settings, database: Database, jobs: Mapping[JobName, Job] = JOBS) -> list[Standing]:
    """How it stands with each job, in the order of `JobName`."""
    now_ms, zone = database.now_ms(), zone_of(settings.budgets.timezone)
    with database.read() as tx:
        last, known, busy = schedules.last_runs(tx), schedules.known(tx), schedules.busy(tx)
        swept_ms = health.last_sweep_ms(tx)
    found = []
    for name in (name for name in JobName if name in jobs):
        job, times = jobs[name], settings.schedules.of(name)
        note = _note(name, swept_ms) if job.is_of_mill and is_at_home(settings) else ""
        is_waiting = bool(note) or bool(busy & ({name} if job.is_quick else long_ones(jobs)))
        since_ms = None if is_waiting else _due_since(times, known.get(name), last.get(name), now_ms, zone)
        found.append(
            Standing(
                job=name,
                meaning=job.meaning,
                times=times,
                next_due_ms=None if note else times.next_due(now_ms, zone),
                last=last.get(name),
                note=note,
                late_since_ms=since_ms
                if since_ms is not None and _is_late(settings, now_ms - since_ms)
                else None,
            )
        )
    return found


def is_at_home(settings: Settings) -> bool:
    """Whether this is an embedded home, whose mill keeps time; elsewhere beat does."""
    return settings.database.is_embedded and settings.broker.is_embedded


def is_time_kept(settings: Settings, database: Database) -> bool | None:
    """Whether somebody has ever looked what is due; None on a home whose mill does not run: nobody need look."""
    if is_at_home(settings):
        return True if attendance.is_served(settings) else None
    with database.read() as tx:
        return bool(schedules.known(tx))


def run_by_hand(settings: Settings, database: Database, job: JobName, stopping: Any) -> Detail:
    """Run a job now, whatever its times are; what came of it.

    Raises:
        ConflictError: Somebody is running it.
        StoppedError: It was told to stop.
        BatchmillError: It went wrong.
    """

    def do(run: JobRun) -> Detail:
        begun.append(run)
        return JOBS[job].run(run)

    begun: list[JobRun] = []
    detail = perform(settings, database, job, database.now_ms(), do, stopping=stopping, by_hand=True)
    if detail is not None:
        return detail
    if begun and not begun[0].lost.is_set():
        raise StoppedError(f"{job} was stopped", "what it had done by then stays done; run it again to go on")
    if begun:
        raise ConflictError(f"{job} was taken over by another", "see `batchmill schedules list`")
    raise ConflictError(f"{job} is being run by another right now", "see `batchmill schedules list`")


def job_named(name: str) -> JobName:
    """The job of that name.

    Raises:
        MisuseError: There is none.
    """
    if name in JOBS:
        return JobName(name)
    raise MisuseError(f'there is no job "{name}"', f"jobs are {', '.join(JOBS)}")


def view(standing: Standing) -> dict[str, Any]:
    """How it stands with a job, as JSON shows it. Times are UTC."""
    return {
        "job": standing.job.value,
        "meaning": standing.meaning,
        "when": standing.times.text,
        "when_in_words": standing.times.in_words(),
        "next_due_at": time_text(standing.next_due_ms),
        "late_since": time_text(standing.late_since_ms),
        "note": standing.note or None,
        "last_run": run_view(standing.last) if standing.last is not None else None,
    }


def run_view(run: RunRow) -> dict[str, Any]:
    """A run as JSON shows it."""
    took_ms = None if run.ended_ms is None else run.ended_ms - run.started_ms
    return {
        "job": run.job,
        "due_at": time_text(run.due_ms),
        "state": "killed" if run.is_killed else run.state.value,
        "tries": run.tries,
        "started_at": time_text(run.started_ms),
        "ended_at": time_text(run.ended_ms),
        "took_s": None if took_ms is None else took_ms / 1000,
        "outcome": in_words(run.detail) or run.error or None,
        "detail": dict(run.detail),
        "error": run.error or None,
        "owner": run.owner,
    }


def _note(job: JobName, swept_ms: int | None) -> str:
    """What is said of a job that the mill does by itself."""
    told = "`batchmill up` and `batchmill worker` do it all the time"
    if job is JobName.SWEEP and swept_ms:
        return f"{told}; last at {time_text(swept_ms)}"
    return told


def _due_since(
    times: Timetable, since_ms: int | None, last: RunRow | None, now_ms: int, zone: tzinfo
) -> int | None:
    """Since when a job, which nobody runs, could have been begun; None where it could not."""
    due_ms = times.last_due(now_ms, zone)
    if since_ms is None or due_ms is None or due_ms <= since_ms:
        return None
    if last is None or last.due_ms < due_ms:
        return times.next_due(since_ms if last is None else max(since_ms, last.due_ms), zone)
    if last.due_ms > due_ms or last.state is RunState.DONE or last.tries >= schedules.MOST_TRIES:
        return None
    return last.started_ms + LEASE_MS if last.is_killed else last.next_try_ms


def _is_late(settings: Settings, waited_ms: int) -> bool:
    return waited_ms > max(PATIENCE_MS, RINGS_OF_PATIENCE * settings.schedules.ring_s * 1000)
