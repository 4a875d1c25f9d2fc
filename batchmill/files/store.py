"""The store: where the contents of files are, a local folder or any store that fsspec has a driver for.

An object is written once, by its key, and never changed. Nothing here says which objects are whole: the database does,
so that a store needs neither renaming nor listing.

How a store is reached is its driver's to know: that of `s3://` reads AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
AWS_ENDPOINT_URL, or any other way that Amazon's own tools have.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import fsspec

from batchmill.errors import BatchmillError, SettingsError, StoreError
from batchmill.files.writing import Folder, LocalWriting, RemoteWriting, Writing

READ_BYTES = 1 << 20
FETCH_BYTES = 4 << 20
"""So much is fetched at a time from a store that is not a folder: every time costs a round trip."""
_LOCAL = "file"


class Store:
    """One place for files. Safe between threads.

    Args:
        url: A folder, or `s3://bucket/folder` and the like.

    Raises:
        SettingsError: There is no driver for it, or it is told wrongly.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._system, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError, OSError) as error:
            raise SettingsError(
                f"files cannot be kept where BATCHMILL_FILES_URL says: {error}",
                "name a folder, or install the driver: pip install 'batchmill[s3]' for s3://",
            ) from error
        self._root = str(root).rstrip("/")
        protocol = self._system.protocol
        is_local = _LOCAL in ((protocol,) if isinstance(protocol, str) else protocol)
        self._folder = Folder(self._root) if is_local else None

    def write(self, key: str) -> Writing:
        """Begin to write an object: there once `finish` has returned, gone without a trace if the `with` block ends
        before.

        Raises:
            StoreError: The store cannot be written to; from any of its methods.
        """
        with self._named_errors("written to"):
            if self._folder is not None:
                return LocalWriting(self._folder, key, self._named_errors)
            return RemoteWriting(self._system, self._path(key), self._named_errors)

    def read(self, key: str, first: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of an object, or a part of them, in chunks.

        Raises:
            StoreError: The store cannot be read, or has no such object.
        """
        most = READ_BYTES if self._folder is not None else FETCH_BYTES
        with self._opened(key) as source:
            source.seek(first)
            left = length
            while left is None or left > 0:
                chunk = source.read(most if left is None else min(most, left))
                if not chunk:
                    return
                if left is not None:
                    left -= len(chunk)
                yield chunk

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        """An object as a buffered file that can be read.

        Raises:
            StoreError: The store cannot be read, or has no such object; also from reading.
        """
        size = READ_BYTES if self._folder is not None else FETCH_BYTES
        with self._opened(key) as source, io.BufferedReader(source, size) as file:
            yield file

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is gone already.

        Raises:
            StoreError: The store cannot be written to.
        """
        with self._named_errors("written to"), contextlib.suppress(FileNotFoundError):
            if self._folder is not None:
                self._folder.remove(key)
            else:
                self._system.rm_file(self._path(key))

    def size(self, key: str) -> int | None:
        """How large an object is; None for one that is not there.

        Raises:
            StoreError: The store cannot be read.
        """
        with self._named_errors("looked at"):
            try:
                if self._folder is not None:
                    return os.stat(self._folder.file(key)).st_size
                return int(self._system.info(self._path(key))["size"])
            except FileNotFoundError:
                return None

    def check(self) -> None:
        """Make sure that it can be written to.

        Raises:
            StoreError: It cannot.
        """
        key = f".check-{os.getpid()}"
        with self.write(key) as probe:
            probe.write(b"batchmill")
            probe.finish()
        self.delete(key)

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator["_Source"]:
        with self._named_errors("read"):
            if self._folder is not None:
                file: Any = self._folder.open(key)
            else:
                file = self._system.open(self._path(key), "rb", block_size=FETCH_BYTES, cache_type="none")
        with contextlib.closing(file):
            yield _Source(file, self._named_errors)

    def _path(self, key: str) -> str:
        """Where an object is, in the driver's words."""
        return f"{self._root}/{key}"

    @contextlib.contextmanager
    def _named_errors(self, what: str) -> Iterator[None]:
        """Turn what the driver raises into our words: the system's errors of a folder, its library's own of others."""
        kind = OSError if self._folder is not None else Exception
        try:
            yield
        except BatchmillError:
            raise
        except FileNotFoundError as error:
            if what != "read":
                raise self._error(what, error) from error
            raise StoreError(
                "the file store does not have what it should: an object is missing there",
                "check that every part of the service has the same BATCHMILL_FILES_URL, and that nobody else"
                " removes anything there",
            ) from error
        except kind as error:
            raise self._error(what, error) from error

    def _error(self, what: str, error: Exception) -> StoreError:
        said = str(error).splitlines() or [""]
        reason = getattr(error, "strerror", None) or said[0]
        return StoreError(
            f"the file store cannot be {what}: {reason or type(error).__name__}",
            "check BATCHMILL_FILES_URL, its permissions, and the room there",
        )


class _Source(io.RawIOBase):
    """What is read of an object: the errors of reading are the store's, those of whoever reads are not."""

    def __init__(self, file: Any, named_errors: Any) -> None:
        self._file = file
        self._named_errors = named_errors

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._named_errors("read"):
            return cast(int, self._file.seek(offset, whence))

    def readinto(self, into: Any) -> int:
        with self._named_errors("read"):
            return cast(int, self._file.readinto(into))

    def readall(self) -> bytes:
        """The rest, in pieces as large as are fetched: the base class asks for 8 kB at a time, each a request."""
        return b"".join(iter(lambda: self.read(FETCH_BYTES), b""))
