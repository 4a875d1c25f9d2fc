"""Attendance: what a living command is at work on right now, an output path, an ingest or a whole home.

Such a command holds a lock; the kernel lets it go with the process, however that ends.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from batchmill.errors import ConflictError
from batchmill.settings import Settings

ASK_AGAIN_FOR_S = 1.0
"""Whoever only asks holds a lock for an instant."""

ASK_AGAIN_AFTER_S = 0.02
ASKED_SO_OFTEN = 3


@contextlib.contextmanager
def attend(settings: Settings, output: Path) -> Iterator[None]:
    """Be the one command for an output path.

    Raises:
        ConflictError: Another command is.
    """
    with _lock_file(settings, "outputs", _hashed(output)) as lock:
        deadline = time.monotonic() + ASK_AGAIN_FOR_S
        while not _take(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise ConflictError(
                    f'another command is writing "{output}" right now', "wait for it, or name another output"
                )
            time.sleep(ASK_AGAIN_AFTER_S)
        yield


@contextlib.contextmanager
def attend_ingest(settings: Settings, public_id: str) -> Iterator[None]:
    """Be the command that takes in a submitted batch; begun before others can see the batch."""
    with _lock_file(settings, "ingests", public_id) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            Path(lock.name).unlink(missing_ok=True)


@contextlib.contextmanager
def attend_home(settings: Settings) -> Iterator[None]:
    """Be one of the workers that answer what is submitted on an embedded home."""
    with _lock_file(settings, "serving", "home") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def is_attended(settings: Settings, batch: Any) -> bool:
    """Whether a command is at work on a batch: takes it in, or comes for its output."""
    if batch.output_path is None:
        where, name = "ingests", batch.public_id
    else:
        where, name = "outputs", _hashed(Path(batch.output_path))
    if not (_folder(settings) / where / name).exists():
        return False
    with _lock_file(settings, where, name) as lock:
        return not _take(lock, fcntl.LOCK_SH)


def is_served(settings: Settings) -> bool:
    """Whether a worker answers what is submitted on an embedded home."""
    if not (_folder(settings) / "serving" / "home").exists():
        return False
    with _lock_file(settings, "serving", "home") as lock:
        for _ in range(ASKED_SO_OFTEN):  # another who only asks is soon gone
            if _take(lock, fcntl.LOCK_EX):
                return False
            time.sleep(ASK_AGAIN_AFTER_S)
    return True


def _take(lock: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _hashed(output: Path) -> str:
    return hashlib.sha256(os.fsencode(output)).hexdigest()[:32]


def _lock_file(settings: Settings, where: str, name: str) -> IO[bytes]:
    folder = _folder(settings) / where
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / name).open("wb")


def _folder(settings: Settings) -> Path:
    """Beside the database, so that all who share one know of each other."""
    database = settings.database.path
    return (database.parent if database is not None else settings.home) / "run"
