"""The notice: where the service of a home is reached, for whoever looks for it on this machine.

While the service lives it holds a lock beside the notice; the kernel lets it go with the process.
"""

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from batchmill.errors import ConflictError, NotFoundError, ServiceError
from batchmill.settings import Settings

ENDS_WITHIN_S = 60.0
UP_WITHIN_S = 30.0
LOOK_EVERY_S = 0.05
ASK_AGAIN_FOR_S = 1.0
"""Whoever only asks whether there is one holds the lock for an instant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A service that runs.

    Attributes:
        pid: Of the command that ends it.
    """

    url: str
    pid: int


class Board:
    """Where the notice of a home hangs."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.home / "run"
        self._lock_path = self._folder / "service.lock"
        self._notice_path = self._folder / "service.json"

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Be the one service of the home.

        Raises:
            ConflictError: There is one.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._lock_path.open("wb") as lock:
            deadline = time.monotonic() + ASK_AGAIN_FOR_S
            while not _locks(lock):
                if time.monotonic() > deadline:
                    running = self.read()
                    where = f" at {running.url}" if running else ""
                    raise ConflictError(
                        f"a service of this home runs already{where}", "`batchmill down` ends it"
                    )
                time.sleep(LOOK_EVERY_S)
            # One that was killed left its own, and its number may be another process's by now.
            self._notice_path.unlink(missing_ok=True)
            try:
                yield
            finally:
                self._notice_path.unlink(missing_ok=True)

    def put(self, url: str) -> None:
        """Hang the notice out; the service answers."""
        temporary = self._notice_path.with_suffix(".new")
        temporary.write_text(
            json.dumps({"url": url, "pid": os.getpid(), "started_at": int(time.time())}) + "\n"
        )
        temporary.replace(self._notice_path)

    def read(self) -> Notice | None:
        """The service that runs, if it answers by now."""
        if not self.is_claimed():
            return None
        try:
            told = json.loads(self._notice_path.read_text())
            return Notice(url=str(told["url"]), pid=int(told["pid"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def is_claimed(self) -> bool:
        """Whether a service runs, or is being started."""
        try:
            with self._lock_path.open("rb") as lock:
                return not _locks(lock, fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    def end(self) -> Notice:
        """End the service, and wait until it is gone; which it was.

        Raises:
            NotFoundError: There is none.
            ServiceError: It does not end.
        """
        running = self._read_soon()
        if running is None:
            raise NotFoundError("no service of this home runs", "`batchmill up` starts one")
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + ENDS_WITHIN_S
        while self.is_claimed():
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"the service (process {running.pid}) has not ended within {ENDS_WITHIN_S:.0f} s",
                    "its calls may still be finishing; ask again, or end the process yourself",
                )
            time.sleep(LOOK_EVERY_S)
        return running

    def _read_soon(self) -> Notice | None:
        """The service that runs; one that is being started is waited for."""
        deadline = time.monotonic() + UP_WITHIN_S
        while (running := self.read()) is None and self.is_claimed() and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
        return running


def _locks(lock: IO[bytes], kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
