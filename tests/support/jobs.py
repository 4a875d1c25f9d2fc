"""Jobs whose runs are watched, and end when they are told to."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from batchmill.settings.schedules import JobName
from tests.support.clocks import PATIENCE_S
from workers.jobs.registry import Job
from workers.jobs.run import Detail, JobRun

QUICK = Job(module=__name__, meaning="is quick", is_quick=True)
LONG = Job(module=__name__, meaning="takes its time")
OF_MILL = Job(module=__name__, meaning="is the mill's own", is_quick=True, is_of_mill=True)


@dataclass(slots=True)
class Watched:
    """What was begun on a database, in order, and how it goes on.

    Attributes:
        do: What a run does after it is noted.
        most_at_once: So many long ones were run beside each other at most.
    """

    do: Callable[[JobRun], Detail] = lambda run: {"due": run.due_ms}
    begun: list[tuple[JobName, int]] = field(default_factory=list)
    most_at_once: int = 0
    _at_it: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def play(self, run: JobRun) -> Detail:
        """Note a run, and do what is to be done."""
        with self._lock:
            self.begun.append((run.job, run.due_ms))
            self._at_it += 1
            self.most_at_once = max(self.most_at_once, self._at_it)
        try:
            return self.do(run)
        finally:
            with self._lock:
                self._at_it -= 1


_watched: dict[str, Watched] = {}


@contextmanager
def watched(url: str, do: Callable[[JobRun], Detail] | None = None) -> Iterator[Watched]:
    """Watch the runs of these jobs on a database."""
    one = _watched[url] = Watched() if do is None else Watched(do=do)
    try:
        yield one
    finally:
        del _watched[url]


def run(run: JobRun) -> Detail:
    """A run of any of them."""
    return _watched[run.database.url].play(run)


def until_stopped(run: JobRun) -> Detail:
    """Go on until told to stop, a step at a time."""
    for _ in range(int(PATIENCE_S * 100)):
        run.checkpoint()
        run.lost.wait(0.01)
    raise AssertionError("nobody stopped it")


def jobs(**kinds: Job) -> Mapping[JobName, Job]:
    """Jobs by name, `_` for `-`."""
    return {JobName(name.replace("_", "-")): job for name, job in kinds.items()}
