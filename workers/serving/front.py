"""The front: the process that answers HTTP, kept running by the command that owns it."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import structlog

from batchmill.errors import ConflictError, ServiceError
from batchmill.settings import Settings

log = structlog.get_logger()

READY_WITHIN_S = 30.0
ASK_EVERY_S = 0.05
BACKLOG = 2_048
LOG_BYTES = 10_000_000
GONE_WITHIN_S = 5.0
FREE_WITHIN_S = 3.0
"""A front looks twice a second whether its launcher lives."""
LIVED_S = 10.0
LONGEST_PAUSE_S = 10.0
"""One that dies again and again as soon as it is started is started less and less often."""


def listen(settings: Settings) -> socket.socket:
    """A socket that listens where the settings say; callers wait in its line while the front is started anew.

    A front whose launcher was killed lets go of it within a moment, which is waited for.

    Raises:
        ConflictError: Somebody else listens there, or it is no address of this machine.
    """
    host, port = settings.service.host, settings.service.port
    deadline = time.monotonic() + FREE_WITHIN_S
    while True:
        try:
            return _listening(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise ConflictError(
                    f"the service cannot listen at {host}:{port}: {error.strerror or error}",
                    "name another address with --host and --port; port 0 takes a free one",
                ) from error
        time.sleep(ASK_EVERY_S)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by its number: where it is left open, asyncio does not turn Nagle's algorithm off.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def url_of(listening: socket.socket) -> str:
    """Where it is reached from this machine."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@dataclass(slots=True, kw_only=True)
class Front:
    """The web process, started again whenever it has died.

    Attributes:
        listening: Handed on to it.
        wants_keys: Ask for keys also where none are needed.
        restarts: How often it had to be started again.
    """

    settings: Settings
    listening: socket.socket
    wants_keys: bool = False
    restarts: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _started_s: float = field(default=float("-inf"), init=False)
    _pause_s: float = field(default=0.0, init=False)

    @property
    def url(self) -> str:
        """Where the service is reached from this machine."""
        return url_of(self.listening)

    @property
    def log_path(self) -> Path:
        """What it says."""
        return self.settings.home / "logs" / "service.log"

    def ensure(self) -> None:
        """Start it, and again whenever it has died."""
        now_s = time.monotonic()
        if self._process is not None and self._process.poll() is not None:
            log.warning("front_died", status=self._process.returncode, log=str(self.log_path))
            self._process = None
            self.restarts += 1
            has_lived = now_s - self._started_s > LIVED_S
            self._pause_s = 0.0 if has_lived else min(LONGEST_PAUSE_S, 2 * self._pause_s + 0.5)
        if self._process is None and now_s - self._started_s >= self._pause_s:
            self._started_s = now_s
            self._process = self._start()

    def wait_until_up(self) -> None:
        """Wait until it answers.

        Raises:
            ServiceError: It does not, for half a minute, or has ended.
        """
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._answers():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise ServiceError("the service does not start", f"its log is {self.log_path}")
            time.sleep(ASK_EVERY_S)

    def stop(self) -> None:
        """Let it finish what it answers, as long as the settings grant; then end it."""
        self._end(signal.SIGTERM, self.settings.workers.grace_s + GONE_WITHIN_S)

    def kill(self) -> None:
        """End it at once, if it runs."""
        self._end(signal.SIGKILL, GONE_WITHIN_S)

    def _end(self, number: signal.Signals, within_s: float) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        host, port = self.listening.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        connection = HTTPConnection(host, port, timeout=1.0)
        try:
            connection.request("GET", "/health/live")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _start(self) -> subprocess.Popen[bytes]:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if self.log_path.stat().st_size > LOG_BYTES:
                self.log_path.replace(self.log_path.with_suffix(".log.1"))
        number = self.listening.fileno()
        command = [
            *(sys.executable, "-P", "-m", "cli.main", "serve"),
            *("--front", str(number), "--parent", str(os.getpid())),
            *(("--require-keys",) if self.wants_keys else ()),
        ]
        with self.log_path.open("ab") as output:
            return subprocess.Popen(
                command,
                env=_environ(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(number,),
                start_new_session=True,
            )


def _environ(settings: Settings) -> dict[str, str]:
    """Its environment; without a folder for metrics that some launcher has named, as it tells its own itself."""
    environ = os.environ | settings.to_environ() | {"BATCHMILL_LOG_FORMAT": "json"}
    return {name: value for name, value in environ.items() if name.upper() != "PROMETHEUS_MULTIPROC_DIR"}
