"""Writes the output and the errors file: whole under their names, or not at all.

Lines stream to temporary files beside the targets; these are synced to disk, then renamed. What stands under
a name is therefore always complete, whatever happens on the way.

The two renames are two steps. The output file comes last and means "finished": a machine that stops between
them leaves new errors, or none, beside the old output, and the same command run again writes both anew.
"""

import errno
import glob
import hashlib
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from batchmill.errors import MisuseError, OutputError
from batchmill.failpoints import Failpoint, reached

WRITE_BUFFER_BYTES = 1 << 20
STANDARD_STREAMS = ("-", "/dev/stdout", "/dev/stderr")

_HINTS = {
    errno.ENOSPC: "free some space and run the same command again; answers already given are kept",
    errno.EDQUOT: "make room in the disk quota and run the same command again; answers given are kept",
    errno.EROFS: "the file system is read-only; name another folder",
    errno.EACCES: "check the folder's permissions, or name another one",
    errno.EPERM: "check the folder's permissions, or name another one",
    errno.ENAMETOOLONG: "choose a shorter name",
}
_HINT = "name another place and run the same command again; answers already given are kept"


def default_errors_path(output: Path) -> Path:
    """Where errors go unless told otherwise: `answers.jsonl` → `answers.errors.jsonl`."""
    return output.with_name(output.name.removesuffix(".jsonl") + ".errors.jsonl")


def check_writable(paths: Sequence[Path], *, source: Path | None = None) -> None:
    """Refuse what could not be written at the end, before any work starts.

    A temporary file is made and removed beside each path: only that is a true answer on every file system.

    Args:
        paths: The files to be written, each a different one.
        source: The input file, which none of them may be.

    Raises:
        MisuseError: A path is the input, is named twice, or is the standard output.
        OutputError: A path's folder is missing or not writable, or something else than a file stands there.
    """
    for path in paths:
        _refuse_streams(path)
        if source is not None and _is_same(path, source):
            hint = "give the answers another name"
            raise MisuseError(f'output "{path}" is the input file; it would be overwritten', hint)
    if len({_target(path) for path in paths}) < len(paths):
        named = " and ".join(f'"{path}"' for path in paths)
        raise MisuseError(f"answers and errors cannot go to one file: {named}", "give them different names")
    for path in paths:
        target = _target(path)
        _check_target(path, target)
        try:
            temporary = _temporary(target)
            os.close(_create(temporary))
            temporary.unlink()
        except OSError as error:
            raise _not_writable(path, error) from error


def remove_leftovers(paths: Sequence[Path]) -> int:
    """Remove the temporary files that a killed delivery to these paths left; how many. Nobody else may write them."""
    removed = 0
    for target in map(_target, paths):
        for left in target.parent.glob(f".{glob.escape(_stem(target))}.*.part"):
            with suppress(OSError):
                left.unlink()
                removed += 1
    return removed


class ResultFiles:
    """Two files being written: they appear when the `with` block ends well, and leave no trace when not.

    The output file appears even when it is empty, the errors file only when it has a line; an errors file of
    an earlier run at that path is then removed. Symbolic links are followed: what they point to is replaced.

    Raises:
        OutputError: From any method, when the disk is full or the folder cannot be written to.
    """

    def __init__(self, *, output: Path, errors: Path) -> None:
        self._output = _ResultFile(output)
        self._errors = _ResultFile(errors)

    def __enter__(self) -> Self:
        self._errors.check()
        self._output.open()
        return self

    def add_output(self, line: bytes) -> None:
        """Append a line, its newline included, to the output file."""
        self._output.write(line)

    def add_error(self, line: bytes) -> None:
        """Append a line, its newline included, to the errors file."""
        self._errors.open()
        self._errors.write(line)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            self._output.discard()
            self._errors.discard()

    def _publish(self) -> None:
        self._output.sync()
        if self._errors.is_open:
            self._errors.sync()
        reached(Failpoint.BEFORE_RENAME)
        if self._errors.is_open:
            self._errors.publish()
        else:
            self._errors.remove_target()
        reached(Failpoint.BETWEEN_RENAMES)
        self._output.publish()


class _ResultFile:
    """One file on its way from a temporary name to its own."""

    def __init__(self, path: Path) -> None:
        _refuse_streams(path)
        self._path = path
        self._target = _target(path)
        self._temporary = _temporary(self._target)
        self.is_open = False

    def check(self) -> None:
        _check_target(self._path, self._target)

    def open(self) -> None:
        if self.is_open:
            return
        self.check()
        try:
            self._file = os.fdopen(_create(self._temporary), "wb", WRITE_BUFFER_BYTES)
        except OSError as error:
            raise _not_writable(self._path, error) from error
        self.is_open = True

    def write(self, line: bytes) -> None:
        try:
            self._file.write(line)
        except OSError as error:
            raise _not_writable(self._path, error) from error

    def sync(self) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise _not_writable(self._path, error) from error

    def publish(self) -> None:
        try:
            os.replace(self._temporary, self._target)
            _sync_folder(self._target.parent)
        except OSError as error:
            raise _not_writable(self._path, error) from error

    def remove_target(self) -> None:
        try:
            self._target.unlink(missing_ok=True)
        except OSError as error:
            raise _not_writable(self._path, error) from error

    def discard(self) -> None:
        """Remove the temporary file, if it is still there; never hides the error that led here."""
        if self.is_open:
            with suppress(OSError):
                self._file.close()
            with suppress(OSError):
                self._temporary.unlink()


def _refuse_streams(path: Path) -> None:
    if str(path) in STANDARD_STREAMS or str(path).startswith(("/dev/fd/", "/proc/self/fd/")):
        raise MisuseError(
            f'output "{path}" is a stream; answers can only be written to a file',
            "name a file, then read it: an interrupted run must leave no half of one",
        )


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _temporary(target: Path) -> Path:
    return target.with_name(f".{_stem(target)}.{secrets.token_hex(4)}.part")


def _stem(target: Path) -> str:
    """Names the temporary files of one target and of no other. A name has at most 255 bytes, a character up to four."""
    if len(target.name) <= 40:
        return target.name
    return f"{target.name[:40]}-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]}"


def _create(path: Path) -> int:
    # Not tempfile: its files are 0600 whatever the umask says, and results are as public as any file.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _is_same(path: Path, source: Path) -> bool:
    with suppress(OSError):
        return path.samefile(source)
    return _target(path) == _target(source)


def _check_target(path: Path, target: Path) -> None:
    try:
        mode = target.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG
    except OSError as error:
        raise _not_writable(path, error) from error
    if stat.S_ISDIR(mode):
        raise OutputError(f'output "{path}" is a directory', f'name a file in it: "{path}/answers.jsonl"')
    if not stat.S_ISREG(mode):
        raise OutputError(f'output "{path}" is a device or pipe, which a result file would replace', _HINT)
    if not target.parent.is_dir():
        raise OutputError(
            f'output "{path}" cannot be written: there is no folder "{target.parent}"',
            f"make it with `mkdir -p {target.parent}`",
        )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network file systems cannot sync a folder; the rename is then as durable as they make it.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _not_writable(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f'output "{path}" cannot be written: {reason}', _HINTS.get(error.errno or 0, _HINT))
