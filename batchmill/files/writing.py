"""Writing: an object on its way into a store, whole or not at all."""

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

PART_BYTES = 8 << 20
"""So much of an object is in memory while it is sent to a store that is not a folder. S3 takes 10,000 parts, 80 GB."""

NamedErrors = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of objects, a file each, which only we read."""

    path: str

    def file(self, key: str) -> str:
        """Where an object is."""
        return os.path.join(self.path, key)

    def create(self, key: str) -> BinaryIO:
        """A file to write an object to; nothing of it is in our memory."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        return open(os.open(self.file(key), flags, 0o600), "wb", 0)

    def open(self, key: str) -> BinaryIO:
        """An object to be read."""
        return open(self.file(key), "rb", 0)

    def remove(self, key: str) -> None:
        """Remove an object.

        Raises:
            FileNotFoundError: There is none.
        """
        os.unlink(self.file(key))

    def sync(self) -> None:
        """See to it that the names of new objects outlive a power cut."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # some network file systems cannot
                os.fsync(folder)
        finally:
            os.close(folder)


class Writing(ABC):
    """An object being written: there once `finish` has returned, gone without a trace if the `with` block ends before.

    Raises:
        StoreError: From any method, when the store does not take it.
    """

    def __init__(self, file: Any, named_errors: NamedErrors) -> None:
        self._file = file
        self._named_errors = named_errors
        self._is_whole = False

    def __enter__(self) -> Self:
        return self

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append."""
        with self._named_errors("written to"):
            left = memoryview(chunk)
            while left:
                left = left[self._file.write(left) :]

    def finish(self) -> None:
        """See to it that all of it is there, and stays there."""
        with self._named_errors("written to"):
            self._complete()
        self._is_whole = True

    def __exit__(self, *_: object) -> None:
        if not self._is_whole:
            with contextlib.suppress(Exception):
                self._discard()

    @abstractmethod
    def _complete(self) -> None: ...

    @abstractmethod
    def _discard(self) -> None: ...


class LocalWriting(Writing):
    """One into a folder."""

    def __init__(self, folder: Folder, key: str, named_errors: NamedErrors) -> None:
        super().__init__(folder.create(key), named_errors)
        self._folder = folder
        self._key = key

    def _complete(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
        self._folder.sync()

    def _discard(self) -> None:
        self._file.close()
        self._folder.remove(self._key)


class RemoteWriting(Writing):
    """One by way of a driver."""

    def __init__(self, system: Any, path: str, named_errors: NamedErrors) -> None:
        file = system.open(path, "wb", autocommit=False, block_size=PART_BYTES)
        super().__init__(file, named_errors)

    def _complete(self) -> None:
        self._file.close()
        self._file.commit()

    def _discard(self) -> None:
        try:
            self._file.discard()
        finally:
            self._file.closed = True  # or it sends what is left of it when it is collected
