"""Inputs as files: standard input kept without a name, and what tells one input from another."""

import errno
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from batchmill.errors import InputError, MisuseError
from batchmill.requests.model import LineError, RequestLine
from batchmill.requests.shape import InputFormat, InputShape
from batchmill.requests.source import InputFile, SpooledInput

TABLE = b"id,text\n1,Hi\n2,Ho\n"
SHAPE = InputShape(format=InputFormat.CSV, model="m", prompt_column="text")


def identity(data: bytes, folder: Path, shape: InputShape) -> dict[str, Any]:
    """What tells standard input with that in it from others."""
    with closing_input(data, folder, shape) as source:
        return source.identity()


@contextmanager
def closing_input(data: bytes, folder: Path, shape: InputShape = SHAPE) -> Iterator[SpooledInput]:
    """Standard input with that in it, kept for as long as the context lasts."""
    source = SpooledInput(io.BytesIO(data), folder, shape)
    yield source
    source.release()


def test_a_stream_is_read_as_often_as_needed_and_leaves_no_name(tmp_path: Path) -> None:
    """Hashed, then read twice, from a file that no name points to: nothing is left of it, however the process ends."""
    with closing_input(TABLE, tmp_path / "new") as source:
        assert list((tmp_path / "new").iterdir()) == []
        source.sha256()
        for _ in range(2):
            assert [line.custom_id for line in source.lines() if isinstance(line, RequestLine)] == ["1", "2"]
        assert source.path is None
    with pytest.raises(InputError, match="standard input cannot be read"):
        list(source.lines())


def test_a_stream_is_the_same_input_as_a_file_of_its_bytes(tmp_path: Path) -> None:
    """So a run that was begun from one goes on from the other."""
    path = tmp_path / "in.csv"
    path.write_bytes(TABLE)
    detected = InputShape(model="m", prompt_column="text")
    assert InputFile(path, SHAPE).identity() == identity(TABLE, tmp_path, SHAPE)
    assert InputFile(path, detected).identity() == identity(TABLE, tmp_path, SHAPE)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"prompt_column": "id"},
        {"prompt_column": "", "prompt": "{text}"},
        {"id_column": "text"},
        {"system_prompt": "S"},
        {"format": InputFormat.PLAIN},
    ],
)
def test_what_changes_the_requests_makes_another_input(tmp_path: Path, change: dict[str, Any]) -> None:
    """The same bytes, read otherwise, are other requests."""
    shape = {name: getattr(SHAPE, name) for name in SHAPE.__slots__} | change
    assert identity(TABLE, tmp_path, InputShape(**shape)) != identity(TABLE, tmp_path, SHAPE)


def test_a_table_that_is_not_read_to_its_end_has_not_changed(tmp_path: Path) -> None:
    """Behind a row that is too long nothing is read; that is no other file, whether hashed before or after."""
    path = tmp_path / "in.csv"
    path.write_bytes(b"id,text\n1," + b"x" * 2_000_000 + b"\n2,Hi\n")
    for hashes_first in (True, False):
        source = InputFile(path, SHAPE, max_line_bytes=1_000)
        before = source.sha256() if hashes_first else ""
        (told,) = source.lines()
        assert isinstance(told, LineError)
        assert source.sha256() == (before or hashlib.sha256(path.read_bytes()).hexdigest())


def test_streams_that_cannot_be_used(tmp_path: Path) -> None:
    """Nothing in it, nowhere to keep it, or asked for what it does not have: told at once."""
    with pytest.raises(InputError, match="standard input is empty"):
        SpooledInput(io.BytesIO(b""), tmp_path, SHAPE)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r'standard input cannot be kept in ".*file"'):
        SpooledInput(io.BytesIO(TABLE), tmp_path / "file", SHAPE)
    with pytest.raises(MisuseError, match="--id-column"):
        SpooledInput(io.BytesIO(b'{"id": "a", "prompt": "Hi"}'), tmp_path, InputShape(id_column="x"))


def test_no_room_for_a_stream(tmp_path: Path) -> None:
    """A disk that fills up while the stream is kept is told with its folder."""

    class _Full(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"cannot be kept in .*: No space left on device") as refused:
        SpooledInput(_Full(), tmp_path, SHAPE)  # type: ignore[arg-type]
    assert "--home" in refused.value.hint
