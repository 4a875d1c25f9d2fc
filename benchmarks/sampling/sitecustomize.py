"""Imported by every Python that has this folder on its path: samples the one process that is to be explained.

BENCHMARK_PROFILED says which: `run`, the command itself, or `worker`, what a worker forks. Every 5 ms of CPU time
a signal asks which thread has used how much since the last one, and where it stands; a thread that has just come
to its end is found waiting. The sums go into a file in BENCHMARK_PROFILE ever and again, as the process may be killed.
"""

import json
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

EVERY_CPU_S = 0.005
SAMPLES_TO_A_WRITE = 40
ROOT = Path(__file__).parents[2]
OWN = tuple(f"{ROOT / folder}{os.sep}" for folder in ("batchmill", "cli", "db", "tasks", "workers"))
FOLDER = os.environ.get("BENCHMARK_PROFILE")
PROFILED = os.environ.get("BENCHMARK_PROFILED")


class Sampler:
    """Sums of CPU seconds by place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._clocks: dict[int, float] = {}
        self._threads: defaultdict[str, float] = defaultdict(float)
        self._here: defaultdict[str, float] = defaultdict(float)
        self._for: defaultdict[str, float] = defaultdict(float)
        self._left = SAMPLES_TO_A_WRITE

    def begin(self) -> None:
        """Sample this process from now on."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, EVERY_CPU_S, EVERY_CPU_S)

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        frames: dict[int, FrameType | None] = {**sys._current_frames(), threading.get_ident(): frame}
        for thread in threading.enumerate():
            if thread.ident is None or (where := frames.get(thread.ident)) is None:
                continue
            try:
                now = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            except OSError:  # it has just ended
                continue
            used = now - self._clocks.get(thread.ident, now)
            self._clocks[thread.ident] = now
            self._threads[thread.name] += used
            self._here[_room(where.f_code.co_filename)] += used
            self._for[_own_function(where)] += used
        self._left -= 1
        if self._left == 0:
            self._left = SAMPLES_TO_A_WRITE
            self._path.write_text(
                json.dumps({"thread": self._threads, "code of": self._here, "function": self._for})
            )


def _room(path: str) -> str:
    """Whose code a file is: a folder of ours, a package, or Python itself."""
    own = _relative(path)
    if own:
        return "/".join(own.split("/")[:-1]) + "/"
    _, found, package = path.rpartition("site-packages/")
    return package.split("/")[0].removesuffix(".py") if found else "Python: " + Path(path).stem


def _own_function(frame: FrameType | None) -> str:
    """The innermost function of ours that is at work; what it calls counts for it."""
    while frame is not None:
        own = _relative(frame.f_code.co_filename)
        if own:
            return f"{own} {frame.f_code.co_name}"
        frame = frame.f_back
    return "none of ours"


def _relative(path: str) -> str:
    return path[len(str(ROOT)) + 1 :] if path.startswith(OWN) else ""


def _begin() -> None:
    assert FOLDER is not None
    Sampler(Path(FOLDER) / f"{os.getpid()}.json").begin()


if FOLDER and PROFILED in sys.orig_argv:
    if PROFILED == "run":
        _begin()
    else:
        os.register_at_fork(after_in_child=_begin)
