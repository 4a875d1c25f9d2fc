"""Commands that go by a clock of the test's: it jumps wherever the test says, and goes on from there."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.support.mill import Mill

ROOT = Path(__file__).parents[2]


@dataclass(kw_only=True)
class OtherClock:
    """A clock, and whoever starts commands of an installation that go by it.

    Attributes:
        offset: The file that says by how many milliseconds it is ahead.
        log: The file for what they say.
    """

    mill: Mill
    offset: Path
    log: Path

    @cached_property
    def _starter(self) -> subprocess.Popen[str]:
        with self.log.open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.clocked", str(self.offset)],
                env=self.mill.environment() | {"PYTHONPATH": str(ROOT)},
                cwd=self.mill.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.mill.started.append(process)
        return process

    def close(self) -> None:
        """Start nothing more, and leave nothing running."""
        self.mill.kill_everything()
        if self._starter.stdin is not None:
            self._starter.stdin.close()

    def jump(self, ahead_ms: int) -> None:
        """Be ahead of this machine's clock by so much, or behind it."""
        later = self.offset.with_suffix(".new")
        later.write_text(str(ahead_ms))
        later.replace(self.offset)

    def set(self, at_ms: int) -> None:
        """Let it be that moment."""
        self.jump(at_ms - time.time_ns() // 1_000_000)

    def start(self, *arguments: str) -> int:
        """Start a command that goes by that clock; its process, which leads a group of its own."""
        starter = self._starter
        assert starter.stdin is not None
        assert starter.stdout is not None
        starter.stdin.write(json.dumps(arguments) + "\n")
        starter.stdin.flush()
        return int(starter.stdout.readline())
