"""The embedded launcher: a worker of one command's own, in its own process group, that never outlives the command."""

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from batchmill.settings import Settings

log = structlog.get_logger()

LOG_BYTES = 10_000_000


@dataclass(slots=True, kw_only=True)
class EmbeddedWorker:
    """One `batchmill worker` that serves one batch.

    Attributes:
        batch: Row number of the batch.
        queue: The queue its doorbell rings in.
        concurrency: Most calls in flight over all its processes.
    """

    settings: Settings
    broker_url: str
    batch: int
    queue: str
    processes: int
    concurrency: int
    restarts: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def ensure(self) -> None:
        """Start it, and again whenever it has died."""
        if self._process is not None and self._process.poll() is not None:
            log.warning("worker_died", status=self._process.returncode)
            self._end_group()
            self._process = None
            self.restarts += 1
        if self._process is None:
            self._process = self._start()

    def stop(self) -> None:
        """Let it finish the calls in flight, as long as the settings grant; then end whatever is left of it."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self.settings.workers.grace_s + 5)
        self._end_group()
        self._process = None

    def kill(self) -> None:
        """End it at once; calls in flight become unknown."""
        self._end_group()
        self._process = None

    def _end_group(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        log_path = self.settings.home / "logs" / "worker.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        _keep_small(log_path)
        environ = os.environ | self.settings.to_environ() | {"BROKER_URL": self.broker_url}
        command = [
            *(sys.executable, "-P", "-m", "cli.main", "worker", "--die-with-parent"),
            *("--batch", str(self.batch), "--queue", self.queue),
            *(
                "--processes",
                str(self.processes),
                "--concurrency",
                str(max(1, self.concurrency // self.processes)),
            ),
        ]
        with log_path.open("ab") as output:
            return subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def _keep_small(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
