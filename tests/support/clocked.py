"""The command by another clock: `python -m tests.support.clocked FILE ARGUMENTS...`.

This machine's time, by as many milliseconds further on as that file says; forked processes go by it as well.
"""

import sys
import time
from pathlib import Path

from batchmill.clock import SystemClock
from cli.main import run


def go_by(offset: Path) -> None:
    """Let this machine's clock be ahead by what the file says at each moment."""

    def now_ms(_clock: SystemClock) -> int:
        return time.time_ns() // 1_000_000 + int(offset.read_text())

    SystemClock.now_ms = now_ms  # type: ignore[method-assign]


if __name__ == "__main__":
    go_by(Path(sys.argv[1]))
    sys.exit(run(sys.argv[2:]))
