"""Commands by another clock: `python -m tests.support.clocked FILE` starts whatever it is told on standard input.

Each line is the arguments of a command, as JSON. It runs in a fork, whose imports are made already, in a session of its
own, and goes by this machine's time as many milliseconds further on as the file says at each moment; so does whatever
it forks. Its process id is printed.
"""

import json
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

from batchmill.clock import SystemClock
from cli.main import run

NEEDED = (
    *("celery.apps.beat", "celery.apps.worker", "celery.concurrency.prefork", "kombu.transport.redis"),
    *("cli.beat", "cli.worker", "schedules.entries", "tasks.maintenance", "tasks.requests"),
    *("workers.jobs.alerts", "workers.jobs.sweep", "workers.jobs.usage_report", "workers.production"),
    *("workers.reports.gathering", "workers.reports.handing"),
)


def go_by(offset: Path) -> None:
    """Let this machine's clock be ahead by what the file says."""

    def now_ms(_clock: SystemClock) -> int:
        return time.time_ns() // 1_000_000 + int(offset.read_text())

    SystemClock.now_ms = now_ms  # type: ignore[method-assign]


def start(arguments: list[str]) -> int:
    """Start a command; its process."""
    process = os.fork()
    if process:
        return process
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    sys.exit(run(arguments))


if __name__ == "__main__":
    go_by(Path(sys.argv[1]))
    for name in NEEDED:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever ends is nobody's concern
    for line in sys.stdin:
        print(start(json.loads(line)), flush=True)
