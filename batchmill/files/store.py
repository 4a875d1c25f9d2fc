"""The store: where the contents of files are, a local folder or any store that fsspec has a driver for.

An object is written once, by its key, and never changed. Nothing here says which objects are whole: the database does,
so that a store needs neither renaming nor listing.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import fsspec

from batchmill.errors import BatchmillError, SettingsError, StoreError

READ_CHUNK_BYTES = 1 << 20
_LOCAL = "file"


class Store:
    """One place for files.

    Args:
        url: A folder, or `s3://bucket/folder` and the like.

    Raises:
        SettingsError: There is no driver for it, or it is told wrongly.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._system, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError, OSError) as error:
            raise SettingsError(
                f"files cannot be kept where BATCHMILL_FILES_URL says: {error}",
                "name a folder, or install the driver: pip install 'batchmill[s3]' for s3://",
            ) from error
        self.is_local = self._system.protocol == _LOCAL or _LOCAL in self._system.protocol

    def write(self, key: str) -> "Writing":
        """Begin to write an object.

        Raises:
            StoreError: The store cannot be written to.
        """
        return Writing(self, key)

    def read(self, key: str, first: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of an object, or a part of them, in chunks.

        Raises:
            StoreError: The store cannot be read, or has no such object.
        """
        with self.open(key) as file:
            file.seek(first)
            left = length
            while left is None or left > 0:
                chunk = file.read(READ_CHUNK_BYTES if left is None else min(READ_CHUNK_BYTES, left))
                if not chunk:
                    return
                if left is not None:
                    left -= len(chunk)
                yield chunk

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """An object as a file that can be read.

        Raises:
            StoreError: The store cannot be read, or has no such object.
        """
        with self.named_errors("read"), self._system.open(self.path(key), "rb") as file:
            yield cast(BinaryIO, file)

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is gone already.

        Raises:
            StoreError: The store cannot be written to.
        """
        with self.named_errors("written to"), contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self.path(key))

    def check(self) -> None:
        """Make sure that it can be written to.

        Raises:
            StoreError: It cannot.
        """
        with self.write(".check") as probe:
            probe.write(b"batchmill")
            probe.finish()
        self.delete(".check")

    def create(self, key: str) -> Any:
        """A file to write an object to; see `write`."""
        if self.is_local:
            os.makedirs(self._root, mode=0o700, exist_ok=True)
            return open(
                os.open(self.path(key), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb", 0
            )
        return self._system.open(self.path(key), "wb", autocommit=False)

    def path(self, key: str) -> str:
        """Where an object is, in the store's words."""
        return f"{self._root.rstrip('/')}/{key}"

    def sync(self) -> None:
        """See to it that the names of new objects outlive a power cut, as far as the store leaves that to us."""
        if self.is_local:
            folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with contextlib.suppress(OSError):  # some network file systems cannot
                    os.fsync(folder)
            finally:
                os.close(folder)

    @contextlib.contextmanager
    def named_errors(self, what: str) -> Iterator[None]:
        """Turn what the driver raises into our words: the system's errors of a folder, its library's own of others."""
        kind = OSError if self.is_local else Exception
        try:
            yield
        except BatchmillError:
            raise
        except kind as error:
            said = str(error).splitlines() or [""]
            reason = getattr(error, "strerror", None) or said[0]
            raise StoreError(
                f"the file store cannot be {what}: {reason or type(error).__name__}",
                "check BATCHMILL_FILES_URL, its permissions, and the room there",
            ) from error


class Writing:
    """An object being written: there once `finish` has returned, gone without a trace if the `with` block ends before.

    Raises:
        StoreError: From any method, when the store does not take it.
    """

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key
        self._is_whole = False
        with store.named_errors("written to"):
            self._file = store.create(key)

    def __enter__(self) -> Self:
        return self

    def write(self, chunk: bytes | memoryview) -> None:
        """Append."""
        with self._store.named_errors("written to"):
            left = memoryview(chunk)
            while left:
                left = left[self._file.write(left) :]

    def finish(self) -> None:
        """See to it that all of it is there, and stays there."""
        with self._store.named_errors("written to"):
            self._file.flush()
            if self._store.is_local:
                os.fsync(self._file.fileno())
            self._file.close()
            if not self._store.is_local:
                self._file.commit()
            self._store.sync()
        self._is_whole = True

    def __exit__(self, *_: object) -> None:
        if self._is_whole:
            return
        with contextlib.suppress(Exception):
            if self._store.is_local:
                self._file.close()
                Path(self._store.path(self._key)).unlink(missing_ok=True)
            else:
                self._file.discard()
