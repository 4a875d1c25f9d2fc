"""The input as a file on disk: opened, hashed and read, and noticed when it changes meanwhile."""

import contextlib
import hashlib
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

from batchmill.errors import InputError
from batchmill.requests.jsonl import DEFAULT_MAX_LINE_BYTES
from batchmill.requests.model import LineError, RequestLine
from batchmill.requests.shape import InputShape

READ_CHUNK_BYTES = 1 << 18


class InputFile:
    """A batch input file that can be hashed and read any number of times, and has to stay the same.

    Every pass over the file, hashing or reading, must see the same bytes; the one that does not raises. A
    change that is undone between two passes goes unnoticed, and does no harm.

    Attributes:
        name: What messages call it.
        shape: How it is read, its format settled.

    Raises:
        InputError: There is no such file, it is no regular file, it is empty or cannot be read.
        MisuseError: It is to be read in a way that its format does not have.
    """

    def __init__(
        self,
        path: Path,
        shape: InputShape | None = None,
        *,
        max_line_bytes: int = DEFAULT_MAX_LINE_BYTES,
    ) -> None:
        self.path: Path | None = path
        self.name = f'input file "{path}"'
        _check(path)
        self._prepare(path, shape, path.suffix, max_line_bytes)

    def _prepare(
        self, opened: Path | BinaryIO, shape: InputShape | None, suffix: str, max_line_bytes: int
    ) -> None:
        self.max_line_bytes = max_line_bytes
        self._opened = opened
        self._sha256 = ""
        with self._pass() as file:
            beginning = file.stream.peek(READ_CHUNK_BYTES)
        self.shape = (shape or InputShape()).resolved(beginning, suffix)

    def sha256(self) -> str:
        """SHA-256 of the whole file, in hex; read at most once, and not at all after `lines` has ended.

        Raises:
            InputError: The file cannot be read, or changed.
        """
        if not self._sha256:
            with self._pass() as file:
                self._settle(file)
        return self._sha256

    def identity(self) -> dict[str, Any]:
        """What tells its requests from those of any other input: what is in it, and how that is read."""
        return {"sha256": self.sha256(), "shape": asdict(self.shape)}

    def lines(self) -> Iterator[RequestLine | LineError]:
        """What its shape makes of its lines; a change shows at the end, so believe no line before it.

        Raises:
            InputError: The file cannot be read, changed, or has no requests.
            MisuseError: It has no column of the name that was given.
        """
        is_blank = True
        with self._pass() as file:
            for line in self.shape.read(file.stream, max_line_bytes=self.max_line_bytes):
                is_blank = False
                yield line
                if isinstance(line, LineError) and line.line is None:
                    return  # not a file of that format at all: the rest was not read
            self._settle(file)
        if is_blank:
            raise InputError(f"{self.name} holds blank lines only", "put one request on each line")

    def release(self) -> None:
        """Nobody will read it again."""

    def _pass(self) -> "_Pass":
        return _Pass(self._opened, self.name)

    def _settle(self, file: "_Pass") -> None:
        """Take note of what a pass has seen, or refuse it where another saw something else."""
        sha256 = file.finish()
        if self._sha256 not in ("", sha256):
            raise _changed(self.name)
        self._sha256 = sha256


class SpooledInput(InputFile):
    """A stream, kept in a file without a name for as long as it may be read again.

    The system removes that file with the last process that has it open, however that ends.

    Raises:
        InputError: The stream is empty, or there is no room for it.
        MisuseError: As for any input.
    """

    def __init__(
        self,
        stream: BinaryIO,
        folder: Path,
        shape: InputShape | None = None,
        *,
        max_line_bytes: int = DEFAULT_MAX_LINE_BYTES,
    ) -> None:
        self.path = None
        self.name = "standard input"
        self._file = _spool(stream, folder)
        try:
            self._prepare(self._file, shape, "", max_line_bytes)
        except BaseException:
            self._file.close()
            raise

    def release(self) -> None:
        """Give its room on the disk back."""
        self._file.close()


def _spool(stream: BinaryIO, folder: Path) -> BinaryIO:
    """A file without a name in that folder, with all of the stream in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = cast(BinaryIO, tempfile.TemporaryFile(dir=folder, prefix="input-"))  # noqa: SIM115
    except OSError as error:
        raise _no_room(folder, error) from error
    try:
        shutil.copyfileobj(stream, file, READ_CHUNK_BYTES)
        file.flush()
        if not file.tell():
            raise InputError("standard input is empty", "put one request on each line")
    except BaseException as error:
        with contextlib.suppress(OSError):
            file.close()
        if isinstance(error, OSError):
            raise _no_room(folder, error) from error
        raise
    return file


class _Pass:
    """One pass over the file from its first byte to its last, hashed on the way."""

    def __init__(self, opened: Path | BinaryIO, name: str) -> None:
        self._name = name
        try:
            self._raw = _HashingFile(opened)
        except (OSError, ValueError) as error:
            raise _unreadable(name, error) from error
        self._before = _fingerprint(self._raw)
        self.stream = io.BufferedReader(self._raw, READ_CHUNK_BYTES)

    def __enter__(self) -> "_Pass":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.stream.close()
        if isinstance(error, OSError):
            raise _unreadable(self._name, error) from error

    def finish(self) -> str:
        """The hash of the whole file; what has not been read of it is read now."""
        while self.stream.read(READ_CHUNK_BYTES):
            pass
        if _fingerprint(self._raw) != self._before:
            raise _changed(self._name)
        return self._raw.digest.hexdigest()


class _HashingFile(io.FileIO):
    """A file that hashes what is read from it, chunk by chunk, below the buffer."""

    def __init__(self, opened: Path | BinaryIO) -> None:
        super().__init__(opened if isinstance(opened, Path) else os.dup(opened.fileno()), "rb")
        self.seek(0)
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
        hint = "check its name" if path.is_absolute() else f"it was looked for in {Path.cwd()}"
        raise InputError(f'input file "{path}" does not exist', hint) from error
    except (OSError, ValueError) as error:
        raise _unreadable(f'input file "{path}"', error) from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f'input "{path}" is a directory', "name a file in it")
    if not stat.S_ISREG(status.st_mode):
        hint = "give it to standard input and name `-`, or write it to a file first"
        raise InputError(f'input "{path}" is a pipe or device, not a file', hint)
    if not status.st_size:
        raise InputError(f'input file "{path}" is empty', "put one request on each line")
    try:
        path.open("rb").close()
    except OSError as error:
        raise _unreadable(f'input file "{path}"', error) from error


def _fingerprint(file: io.FileIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _unreadable(name: str, error: OSError | ValueError) -> InputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InputError(f"{name} cannot be read: {reason}", "check its name and its permissions")


def _no_room(folder: Path, error: OSError) -> InputError:
    return InputError(
        f'standard input cannot be kept in "{folder}": {error.strerror or error}',
        "make room, or name another folder with --home",
    )


def _changed(name: str) -> InputError:
    return InputError(
        f"{name} changed while it was being read; nothing of it was accepted",
        "start again once nothing writes to it",
    )
