"""The folder in which the processes of one launcher write their metrics, in prometheus_client's multiprocess mode.

```
<home>/run/metrics/<id>/              one launcher's; `<id>.apart` where it tells them itself
    alive                             locked for as long as the launcher, or any process of its, lives
    reading                           locked shared by readers, alone by whoever folds
    4711.alive                        locked for as long as that process lives
    counter_4711.db, gauge_….db, …    prometheus_client's, one process each
    counter_0.db, histogram_0.db      what processes that are gone have counted
```

Processes come and go: the counts of those that are gone are folded into one file, and their gauges are removed.
Locks and not process ids say who lives: the kernel lets a lock go with its process, and ids are used again.
"""

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

APART = ".apart"


def folders_of(home: Path) -> Path:
    """Where the launchers of a home have their folders."""
    return home / "run" / "metrics"


class MeterFolder:
    """One launcher's folder, which it holds for as long as it lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._alive: IO[bytes] | None = None

    @classmethod
    def make(cls, home: Path, *, is_apart: bool) -> "MeterFolder":
        """A new and therefore empty one.

        Args:
            is_apart: Its metrics are told elsewhere: the service of the home leaves them out, so that no sum has
                them twice.
        """
        name = f"{uuid.uuid4().hex[:16]}{APART if is_apart else ''}"
        folder, hidden = cls(folders_of(home) / name), home / "run" / f"metrics-{name}"
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        hidden.mkdir()
        folder._alive = _locked(hidden / "alive", fcntl.LOCK_EX)
        hidden.rename(folder.path)  # whoever sees it sees that it lives
        return folder

    def remove(self) -> None:
        """Let go of it and remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._alive is not None:
            self._alive.close()

    def join(self) -> IO[bytes]:
        """Called in a process that writes here: a lock that it is to hold for as long as it lives."""
        return _locked(self.path / f"{os.getpid()}.alive", fcntl.LOCK_EX)

    @property
    def is_alive(self) -> bool:
        """Whether its launcher, or a process of its, lives."""
        return _is_held(self.path / "alive")

    @contextlib.contextmanager
    def reading(self) -> Iterator[list[str]]:
        """Its files, which stay as they are while the context lasts."""
        with _locked(self.path / "reading", fcntl.LOCK_SH):
            yield sorted(str(path) for path in self.path.glob("*.db"))

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Nobody reads it while the context lasts."""
        with _locked(self.path / "reading", fcntl.LOCK_EX):
            yield

    def gone(self) -> list[Path]:
        """The life signs of processes that have written here and live no more."""
        return [path for path in self.path.glob("[0-9]*.alive") if not _is_held(path)]


def folders(home: Path) -> list[MeterFolder]:
    """Those of a home's launchers, also of dead ones."""
    return [MeterFolder(path) for path in sorted(folders_of(home).glob("*")) if path.is_dir()]


def remove_dead(home: Path) -> None:
    """Remove what killed launchers have left."""
    for folder in folders(home):
        if not folder.is_alive:
            shutil.rmtree(folder.path, ignore_errors=True)


def _locked(path: Path, kind: int) -> IO[bytes]:
    file = path.open("wb")
    fcntl.flock(file, kind)
    return file


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
