"""The store: whole or not there, on a folder and on a server that speaks S3."""

import gc
import io
import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest

from batchmill.errors import SettingsError, StoreError
from batchmill.files import writing
from batchmill.files.store import FETCH_BYTES, READ_BYTES, Store
from tests.support.stores import bucket, server

PART = 5 << 20
"""The smallest that S3 takes."""
SIZE = FETCH_BYTES + 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A store, and what others see of it.

    Attributes:
        keys: What is there.
        begun: What has been begun there and is neither whole nor gone.
        take_away: From then on the store does not answer.
    """

    store: Store
    keys: Callable[[], list[str]]
    begun: Callable[[], list[str]]
    take_away: Callable[[], None]


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """A server that speaks S3."""
    with server() as url:
        yield url


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Each kind of store."""
    if request.param == "folder":
        root = tmp_path / "files"

        def listed() -> list[str]:
            return sorted(os.listdir(root)) if root.exists() else []

        def take_away() -> None:
            if root.exists():
                root.rename(tmp_path / "gone")
            root.write_text("not a folder")

        yield Place(store=Store(str(root)), keys=listed, begun=list, take_away=take_away)
        return
    monkeypatch.setattr(writing, "PART_BYTES", PART)
    server_url: str = request.getfixturevalue("s3_server")
    there = bucket(server_url)
    for name, value in there.environ.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    store = Store(there.url)

    def take_away() -> None:
        there.system().rm(there.name, recursive=True)

    yield Place(store=store, keys=there.keys, begun=there.open_uploads, take_away=take_away)
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def put(store: Store, key: str, data: bytes, chunk: int = 700_001) -> None:
    with store.write(key) as file:
        for first in range(0, len(data), chunk):
            file.write(data[first : first + chunk])
        file.finish()


@pytest.mark.parametrize("size", [0, 1, PART, 2 * PART + 17])
def test_what_is_written_is_read(place: Place, size: int) -> None:
    """Whatever its size, on either side of a part's, it comes back as it was."""
    data = random.Random(size).randbytes(size)
    put(place.store, "one", data)
    assert b"".join(place.store.read("one")) == data
    with place.store.open("one") as file:
        assert file.read() == data
    assert place.keys() == ["one"]
    assert place.begun() == []


def test_not_there_before_it_is_finished(place: Place) -> None:
    """What is still being written is nobody's to see where a store can hide it, and is whole once it can be seen."""
    data = random.Random(1).randbytes(2 * PART)
    with place.store.write("one") as file:
        file.write(data)
        if place.store.url.startswith("s3"):
            assert place.keys() == []
        file.finish()
        assert b"".join(place.store.read("one")) == data


@pytest.mark.parametrize("size", [0, 10, 2 * PART + 17])
def test_given_up(place: Place, size: int) -> None:
    """A `with` block that ends without `finish` leaves nothing: no object, and no upload that is paid for."""

    def give_up() -> None:
        with place.store.write("one") as file:
            file.write(bytes(size))
            raise KeyError("gone")

    with pytest.raises(KeyError):
        give_up()
    gc.collect()
    assert place.keys() == []
    assert place.begun() == []


PARTS = [
    (0, 0),
    (0, 1),
    (5, 100),
    (READ_BYTES - 1, 2),
    (0, FETCH_BYTES + 2),
    (0, None),
    (SIZE - 1, None),
    (SIZE, None),
    (SIZE - 10, 100),
]


def test_parts_are_read(place: Place) -> None:
    """From any place on, as far as is asked for or as there is."""
    data = random.Random(2).randbytes(SIZE)
    put(place.store, "one", data)
    for first, length in PARTS:
        end = None if length is None else first + length
        assert b"".join(place.store.read("one", first, length)) == data[first:end], (first, length)


def test_lines_are_read(place: Place) -> None:
    """As those of any file, also where they are longer than what is fetched at a time, and up to a limit."""
    lines = [b"a\n", b"b" * (FETCH_BYTES + 5) + b"\n", b"\n", b"last"]
    put(place.store, "one", b"".join(lines))
    with place.store.open("one") as file:
        assert [*file] == lines
    with place.store.open("one") as file:
        assert [file.readline(2), file.readline(3), file.readline(4)] == [b"a\n", b"bbb", b"bbbb"]


def test_what_a_reader_raises_is_its_own(place: Place) -> None:
    """Only what the store does wrong is the store's error."""
    put(place.store, "one", b"x")

    def read() -> None:
        with place.store.open("one"):
            raise OSError("mine")

    with pytest.raises(OSError, match="mine") as caught:
        read()
    assert not isinstance(caught.value, StoreError)


@pytest.mark.parametrize(
    "read", [lambda store: next(store.read("no")), lambda store: store.open("no").__enter__()]
)
def test_not_there(place: Place, read: Callable[[Store], object]) -> None:
    """An object that is missing is told as such, with what to look at."""
    put(place.store, "other", b"x")
    with pytest.raises(StoreError, match="does not have what it should") as caught:
        read(place.store)
    assert "BATCHMILL_FILES_URL" in caught.value.hint


def test_deleted_twice(place: Place) -> None:
    """What is gone is gone; to remove it again changes nothing, and neither does what never was."""
    put(place.store, "one", b"x")
    put(place.store, "two", b"y")
    place.store.delete("one")
    place.store.delete("one")
    place.store.delete("never")
    assert place.keys() == ["two"]


def test_deleted_before_there_is_anything(place: Place) -> None:
    """So it is in a store that nothing has been written to yet."""
    place.store.delete("never")
    assert place.keys() == []


def test_how_large(place: Place) -> None:
    """That of an object, and nothing for one that is not there."""
    put(place.store, "one", b"four")
    assert (place.store.size("one"), place.store.size("two")) == (4, None)


def test_written_again(place: Place) -> None:
    """A key whose writer was killed may be written anew."""
    put(place.store, "one", b"longer than the next")
    put(place.store, "one", b"short")
    assert b"".join(place.store.read("one")) == b"short"


def test_checked(place: Place) -> None:
    """A store that can be written to is found so, and nothing is left of that."""
    place.store.check()
    assert place.keys() == []


@pytest.mark.parametrize(
    "do",
    [
        lambda store: put(store, "one", b"x" * (PART + 1)),
        lambda store: put(store, "one", b""),
        lambda store: next(store.read("old")),
        lambda store: store.check(),
    ],
    ids=["write", "write nothing", "read", "check"],
)
def test_away(place: Place, do: Callable[[Store], object]) -> None:
    """A store that is gone is told as such, from whatever is asked of it, with what to look at."""
    put(place.store, "old", b"x")
    place.take_away()
    with pytest.raises(StoreError, match="file store") as caught:
        do(place.store)
    assert "BATCHMILL_FILES_URL" in caught.value.hint
    gc.collect()


def test_files_of_a_folder_are_their_owners(tmp_path: Path) -> None:
    """Nobody else on the machine reads what producers hand in."""
    store = Store(str(tmp_path / "files"))
    put(store, "one", b"x")
    assert (tmp_path / "files").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "files" / "one").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    """Where a folder cannot even be made, that is told."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written to"):
        put(Store(str(tmp_path / "file" / "below")), "one", b"x")


@pytest.mark.parametrize("url", ["nosuch://bucket/folder"])
def test_no_driver(url: str) -> None:
    """A store that nobody can speak to is refused at once."""
    with pytest.raises(SettingsError, match="BATCHMILL_FILES_URL"):
        Store(url)


def test_a_full_disk(tmp_path: Path) -> None:
    """What the disk does not take is told, and nothing is left of it."""
    store = Store(str(tmp_path))
    with store.write("one") as file, closing(io.FileIO("/dev/full", "wb")) as full:
        file._file.close()
        file._file = full
        with pytest.raises(StoreError, match="No space left"):
            file.write(b"x")
    assert os.listdir(tmp_path) == []
