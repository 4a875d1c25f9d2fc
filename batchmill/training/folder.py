"""A folder of files that appears whole, under its name, or not at all."""

import errno
import glob
import hashlib
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from batchmill.errors import ConflictError, OutputError

MANIFEST: Final = "manifest.json"
"""By this file a folder is known as one of ours."""
BUFFER_BYTES: Final = 1 << 20
_HINTS = {
    errno.ENOSPC: "free some space, and run it again",
    errno.EACCES: "check the folder's permissions, or name another one",
    errno.EROFS: "the file system is read-only; name another folder",
}


class ExportFolder:
    """A folder being written: it stands under its name once `publish` has returned, and leaves no trace before.

    A former export under that name is replaced; one that is the same byte for byte stays as it is. Honest weakness: a
    machine that stops between the two renames of a replacement leaves nothing under that name, until the next export.

    Raises:
        ConflictError: Something else than an export of ours stands there.
        OutputError: From any method, when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._files: dict[str, _File] = {}

    def __enter__(self) -> Self:
        _refuse_other(self._path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            for left in self._path.parent.glob(f".{glob.escape(self._path.name)}.*.part"):
                shutil.rmtree(
                    left, ignore_errors=True
                )  # of an export that was killed: nobody else writes here
            self._temporary.mkdir()
        except OSError as error:
            raise _not_writable(self._path, error) from error
        return self

    def add(self, name: str, line: bytes) -> None:
        """Append a line to a file, which is begun by its first one."""
        try:
            if name not in self._files:
                self._files[name] = _File(self._temporary / name)
            self._files[name].write(line)
        except OSError as error:
            raise _not_writable(self._path, error) from error

    def files(self) -> dict[str, dict[str, object]]:
        """What has been written, by name: lines, bytes, SHA-256."""
        return {name: self._files[name].facts() for name in sorted(self._files)}

    def publish(self, manifest: bytes) -> bool:
        """Let it appear; False where the very same stood there already."""
        try:
            self.add(MANIFEST, manifest)
            for file in self._files.values():
                file.close()
            is_new = not self._is_there(manifest)
            if is_new:
                self._replace()
        except OSError as error:
            raise _not_writable(self._path, error) from error
        return is_new

    def _is_there(self, manifest: bytes) -> bool:
        """Whether the same export stands there already: its manifest has the hashes of its files."""
        try:
            sizes = {name: (self._path / name).stat().st_size for name in self._files}
            return (self._path / MANIFEST).read_bytes() == manifest and all(
                self._files[name].facts()["bytes"] == size for name, size in sizes.items()
            )
        except OSError:
            return False

    def _replace(self) -> None:
        _sync(self._temporary)
        former = self._temporary.with_name(f"{self._temporary.name.removesuffix('.part')}.old.part")
        if self._path.exists():
            os.rename(self._path, former)
        os.rename(self._temporary, self._path)
        _sync(self._path.parent)
        shutil.rmtree(former, ignore_errors=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            with suppress(OSError):
                file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)


class _File:
    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("xb", BUFFER_BYTES)
        self._hash = hashlib.sha256()
        self._lines = self._bytes = 0

    def write(self, line: bytes) -> None:
        self._file.write(line)
        self._hash.update(line)
        self._lines += 1
        self._bytes += len(line)

    def facts(self) -> dict[str, object]:
        return {"lines": self._lines, "bytes": self._bytes, "sha256": self._hash.hexdigest()}

    def close(self) -> None:
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()


def _refuse_other(path: Path) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_dir() or path.is_symlink() or (any(path.iterdir()) and not (path / MANIFEST).is_file()):
        raise ConflictError(
            f'"{path}" is there already, and is no export', "name a new folder, or one that holds an export"
        )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some network file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _not_writable(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    hint = _HINTS.get(error.errno or 0, "name another folder, and run it again")
    return OutputError(f'export "{path}" cannot be written: {reason}', hint)
