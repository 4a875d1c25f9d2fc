"""Outputs: which result files a command is at work on right now.

Such a command holds a lock; the kernel lets it go with the process, however that ends.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from batchmill.errors import ConflictError
from batchmill.settings import Settings

ASK_AGAIN_FOR_S = 1.0
"""Whoever only asks holds a lock for an instant."""


@contextlib.contextmanager
def attend(settings: Settings, output: Path) -> Iterator[None]:
    """Be the one command for an output path.

    Raises:
        ConflictError: Another command is.
    """
    with _lock_file(settings, output) as lock:
        deadline = time.monotonic() + ASK_AGAIN_FOR_S
        while not _take(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise ConflictError(
                    f'another command is writing "{output}" right now', "wait for it, or name another output"
                )
            time.sleep(0.02)
        yield


def is_attended(settings: Settings, output: Path) -> bool:
    """Whether a command is at work on an output path."""
    with _lock_file(settings, output) as lock:
        return not _take(lock, fcntl.LOCK_SH)


def _take(lock: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_file(settings: Settings, output: Path) -> IO[bytes]:
    folder = _folder(settings) / "run" / "outputs"
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / hashlib.sha256(os.fsencode(output)).hexdigest()[:32]).open("wb")


def _folder(settings: Settings) -> Path:
    """Beside the database, so that all who share one know of each other."""
    if not settings.database.is_embedded:
        return settings.home
    return Path(settings.database.url.removeprefix("sqlite:///").partition("?")[0]).parent
