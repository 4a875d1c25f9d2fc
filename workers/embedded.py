"""The embedded worker: one command's own, in its own process group, that never outlives the command."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from batchmill.requests.model import Lane
from batchmill.settings import Settings
from workers.process_groups import holds_anything

log = structlog.get_logger()

LOG_BYTES = 10_000_000
LONGEST_LOOK_BYTES = 256_000
GONE_WITHIN_S = 1.0
_CELERY_TROUBLE = re.compile(r"\[[^\]]*: (?:ERROR|CRITICAL)/[^\]]*\] (.*)")


@dataclass(slots=True, kw_only=True)
class EmbeddedWorker:
    """One `batchmill worker` that serves one batch, or all that is submitted in some lanes.

    Attributes:
        batch: Row number of the one batch; None = whatever is submitted.
        queue: The queue in which the doorbell for that one batch rings; "" = the lanes' own.
        concurrency: Most calls in flight over all its processes.
        metrics_port: Where it tells its metrics; 0 = the service of its home does, if there is one.
        restarts: How often it had to be started again.
        trouble: The last error it logged; "" without one.
    """

    settings: Settings
    broker_url: str
    batch: int | None = None
    queue: str = ""
    lanes: tuple[Lane, ...] = tuple(Lane)
    processes: int
    concurrency: int
    metrics_port: int = 0
    restarts: int = 0
    trouble: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _read_to: int | None = field(default=None, init=False)

    @property
    def log_path(self) -> Path:
        """What the workers of a home say, all in one file."""
        return self.settings.home / "logs" / "worker.log"

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
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self.settings.workers.grace_s + 5)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once, if it runs; calls in flight become unknown."""
        if self._process is not None:
            self._end_group()
            self._process = None

    def listen(self) -> None:
        """Take note of what it has logged since the last time: `trouble`."""
        with contextlib.suppress(OSError), self.log_path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = self._read_to if self._read_to is not None and self._read_to <= size else 0
            file.seek(max(start, size - LONGEST_LOOK_BYTES))
            said = file.read()
            whole = said.rfind(b"\n") + 1
            self._read_to = file.tell() - len(said) + whole
            for line in said[:whole].decode(errors="replace").splitlines():
                self.trouble = _trouble(line) or self.trouble

    def _end_group(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            # Its children hold their signs of life for a moment longer: who looks now takes them for alive.
            deadline = time.monotonic() + GONE_WITHIN_S
            while holds_anything(self._process.pid) and time.monotonic() < deadline:
                time.sleep(0.01)
        self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        _keep_small(self.log_path)
        if self._read_to is None:
            self._read_to = self.log_path.stat().st_size if self.log_path.exists() else 0
        environ = os.environ | self.settings.to_environ() | {"BROKER_URL": self.broker_url}
        environ |= {"BATCHMILL_LOG_FORMAT": "json"}  # for `listen`
        each = max(1, self.concurrency // self.processes)
        command = [
            *(sys.executable, "-P", "-m", "cli.main", "worker", "--parent", str(os.getpid())),
            *self._share(),
            *("--processes", str(self.processes), "--concurrency", str(each)),
            *("--metrics-port", str(self.metrics_port)),
        ]
        with self.log_path.open("ab") as output:
            return subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _share(self) -> tuple[str, ...]:
        """The options that say what it serves."""
        if self.batch is not None:
            return ("--batch", str(self.batch), "--queue", self.queue)
        return ("--submitted-only", "--lanes", ",".join(self.lanes))


def _trouble(line: str) -> str:
    """What a line of the log complains of; "" when it does not."""
    if line.startswith("error: "):  # the command's own words, when it does not even start
        return line.removeprefix("error: ")
    if line.startswith("{"):
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if said.get("level") in ("error", "critical"):
                return str(said.get("error") or said.get("event"))
    celery = _CELERY_TROUBLE.match(line)
    return celery.group(1) if celery else ""


def _keep_small(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
