"""The disk: what is free where a mill writes."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchmill.settings import Settings

GB = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What is free at a folder, also where the folder itself is still to be made."""

    folder: Path
    free_bytes: int

    @property
    def in_words(self) -> str:
        """`12.3 GB are free at /srv/mill`."""
        return f"{self.free_bytes / GB:,.1f} GB are free at {self.folder}"


def scarcest(settings: Settings) -> Space:
    """Where the least is free: home, embedded database, and the files of the service where they are in a folder.

    Raises:
        OSError: One of them cannot be looked at.
    """
    spaces = (_space(folder) for folder in dict.fromkeys(_folders(settings)))
    return min(spaces, key=lambda space: space.free_bytes)


def _folders(settings: Settings) -> Iterator[Path]:
    if settings.database.path is not None:
        yield settings.database.path.parent
    yield settings.home
    store = settings.service.store_url(settings.home)
    if "://" not in store:
        yield Path(store)


def _space(folder: Path) -> Space:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return Space(folder=folder, free_bytes=shutil.disk_usage(there).free)
