"""The input as a file on disk: opened, hashed and read, and noticed when it changes meanwhile."""

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from batchmill.errors import InputError
from batchmill.requests.jsonl import DEFAULT_MAX_LINE_BYTES
from batchmill.requests.lines import read_lines
from batchmill.requests.model import Endpoint, LineError, RequestLine

READ_CHUNK_BYTES = 1 << 18


class InputFile:
    """A batch input file that can be hashed and read any number of times, and has to stay the same.

    Every pass over the file, hashing or reading, must see the same bytes; the one that does not raises. A
    change that is undone between two passes goes unnoticed, and does no harm.

    Raises:
        InputError: There is no such file, it is no regular file, it is empty or cannot be read.
    """

    def __init__(self, path: Path, *, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES) -> None:
        self.path = path
        self.max_line_bytes = max_line_bytes
        self._sha256 = ""
        _check(path)

    def sha256(self) -> str:
        """SHA-256 of the whole file, in hex; read at most once, and not at all after `lines` has ended.

        Raises:
            InputError: The file cannot be read, or changed.
        """
        if not self._sha256:
            with _Pass(self.path) as file:
                while file.stream.read(READ_CHUNK_BYTES):
                    pass
                self._settle(file)
        return self._sha256

    def lines(self, *, endpoint: Endpoint | None = None) -> Iterator[RequestLine | LineError]:
        """What `read_lines` yields for this file; a change shows at the end, so believe no line before it.

        Raises:
            InputError: The file cannot be read, changed, or holds blank lines only.
        """
        is_blank = True
        with _Pass(self.path) as file:
            for line in read_lines(file.stream, max_line_bytes=self.max_line_bytes, endpoint=endpoint):
                is_blank = False
                yield line
                if (
                    isinstance(line, LineError) and line.line is None
                ):  # no JSONL at all: the rest was not read
                    return
            self._settle(file)
        if is_blank:
            raise InputError(
                f'input file "{self.path}" holds blank lines only', "put one request on each line"
            )

    def _settle(self, file: "_Pass") -> None:
        """Take note of what a pass has seen, or refuse it where another saw something else."""
        sha256 = file.finish()
        if self._sha256 not in ("", sha256):
            raise _changed(self.path)
        self._sha256 = sha256


class _Pass:
    """One pass over the file from its first byte to its last, hashed on the way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._raw = _HashingFile(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        self._before = _fingerprint(self._raw)
        self.stream = io.BufferedReader(self._raw, READ_CHUNK_BYTES)

    def __enter__(self) -> "_Pass":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.stream.close()
        if isinstance(error, OSError):
            raise _unreadable(self._path, error) from error

    def finish(self) -> str:
        """The hash of all that was read; called at the end of the file."""
        if _fingerprint(self._raw) != self._before:
            raise _changed(self._path)
        return self._raw.digest.hexdigest()


class _HashingFile(io.FileIO):
    """A file that hashes what is read from it, chunk by chunk, below the buffer."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self.digest = hashlib.sha256()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        size = super().readinto(buffer) or 0
        self.digest.update(memoryview(buffer)[:size])
        return size


def _check(path: Path) -> None:
    """Refuse what is no file that can be read."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        hint = f"it was looked for in {Path.cwd()}" if not path.is_absolute() else ""
        raise InputError(f'input file "{path}" does not exist', hint) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f'input "{path}" is a directory', "name a .jsonl file in it")
    if not stat.S_ISREG(status.st_mode):
        hint = "write it to a file first and name that: an interrupted run reads its input again"
        raise InputError(f'input "{path}" is a pipe or device, not a file', hint)
    if not status.st_size:
        raise InputError(f'input file "{path}" is empty', "put one request on each line")
    try:
        path.open("rb").close()
    except OSError as error:
        raise _unreadable(path, error) from error


def _fingerprint(file: io.FileIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _unreadable(path: Path, error: OSError | ValueError) -> InputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputError(f'input file "{path}" cannot be read: {reason}', "check its name and its permissions")


def _changed(path: Path) -> InputError:
    return InputError(
        f'input file "{path}" changed while it was being read; nothing of it was accepted',
        "start again once nothing writes to it",
    )
