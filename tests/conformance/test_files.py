"""Files: whole or not there, within their quota, gone when their time is up; on both databases."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from batchmill.errors import (
    ConflictError,
    DatabaseError,
    NotFoundError,
    QuotaError,
    StoreError,
    TooLargeError,
)
from batchmill.files.model import FileState
from batchmill.settings import Settings
from db import files as file_rows
from db.engine import Database, Transaction
from db.tables import files as table
from tests.support.clocks import FakeClock
from tests.support.serving import TENANT, objects, put_file, service_on
from workers.serving import files
from workers.serving.files import ABANDONED_AFTER_MS, Upload
from workers.serving.service import Service

HOUR_MS = 3_600_000


@pytest.fixture
def service(database: Database, settings: Settings) -> Service:
    """A service without its processes."""
    return service_on(database, settings)


def begin(service: Service, **told: Any) -> Upload:
    told = {"tenant": TENANT, "purpose": "batch", "filename": "in.jsonl"} | told
    return Upload(service.database, service.store, **told)


def rows(service: Service) -> list[Any]:
    with service.database.read() as tx:
        return [*tx.rows(select(table).order_by(table.c.id))]


def states(service: Service) -> list[str]:
    return [row.state for row in rows(service)]


def test_whole_from_one_moment_on(service: Service, settings: Settings) -> None:
    """It cannot be seen while it comes; entered, it is there with its size and hash."""
    with begin(service) as upload:
        upload.write(b"one ")
        upload.write(b"two")
        upload.seal()
        with pytest.raises(NotFoundError):
            files.named(service.database, upload.row.public_id, TENANT)
        with service.database.write() as tx:
            name = upload.enter(tx).public_id
    row = files.named(service.database, name, TENANT)
    assert (row.bytes, row.sha256) == (7, hashlib.sha256(b"one two").hexdigest())
    assert b"".join(files.content(service.store, row)) == b"one two"
    assert objects(settings) == [name]


@pytest.mark.parametrize("far", ["begun", "written", "sealed"])
def test_given_up_on_the_way(service: Service, settings: Settings, far: str) -> None:
    """However far it has come, a sender that leaves leaves no row and no object."""

    def leave() -> None:
        with begin(service) as upload:
            if far != "begun":
                upload.write(b"x" * 1_000)
            if far == "sealed":
                upload.seal()
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        leave()
    assert rows(service) == []
    assert objects(settings) == []


def test_entered_without_being_told_of_it(service: Service, settings: Settings) -> None:
    """Where a commit is made whose acknowledgement is lost, the file stays: others may know of it by then."""

    def enter() -> None:
        with begin(service) as upload:
            upload.write(b"x")
            upload.seal()
            with service.database.write() as tx:
                upload.enter(tx)
            raise DatabaseError("the connection died while it committed", "")

    with pytest.raises(DatabaseError):
        enter()
    assert states(service) == [FileState.PROCESSED]
    assert objects(settings) == [rows(service)[0].public_id]


def test_not_entered_after_all(service: Service, settings: Settings) -> None:
    """A transaction that is rolled back takes its file with it."""

    def enter() -> None:
        with begin(service) as upload:
            upload.seal()
            with service.database.write() as tx:
                upload.enter(tx)
                raise StoreError("no", "")

    with pytest.raises(StoreError):
        enter()
    assert rows(service) == []
    assert objects(settings) == []


def test_too_large(service: Service, settings: Settings) -> None:
    """One byte too many ends it, and what there was is gone."""

    def write() -> None:
        with begin(service, most_bytes=10) as upload:
            upload.write(b"x" * 10)
            upload.write(b"x")

    with pytest.raises(TooLargeError, match="larger than"):
        write()
    assert rows(service) == []
    assert objects(settings) == []


def put_within(service: Service, size: int, quota: int, tenant: str = TENANT) -> str:
    return put_file(service, b"x" * size, tenant=tenant, quota_bytes=quota)


def test_quota(service: Service) -> None:
    """A tenant's files fit to the last byte and no further; another's do not count; what is deleted makes room."""
    first = put_within(service, 60, 100)
    with pytest.raises(QuotaError):
        put_within(service, 41, 100)
    put_within(service, 40, 100)
    put_within(service, 100, 100, tenant="other")
    with pytest.raises(QuotaError):
        put_within(service, 1, 100)
    files.delete(service.database, service.store, first, TENANT)
    put_within(service, 60, 100)
    with service.database.read() as tx:
        assert file_rows.used_bytes(tx, TENANT) == 100


def test_quota_of_many_at_once(service: Service) -> None:
    """Of files that come beside each other only so many become whole as there is room for."""
    ready, refused = threading.Barrier(8), []

    def upload() -> None:
        try:
            with begin(service, quota_bytes=300) as one:
                one.write(b"x" * 100)
                one.seal()
                ready.wait(30)
                with service.database.write() as tx:
                    one.enter(tx)
        except QuotaError as error:
            refused.append(error)

    threads = [threading.Thread(target=upload) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 5
    with service.database.read() as tx:
        assert file_rows.used_bytes(tx, TENANT) == 300


def test_room_is_looked_at_again_on_the_way(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file does not go on filling the disk when others have taken the room that there was when it began."""
    monkeypatch.setattr(files, "TOUCH_EVERY_BYTES", 10)
    with begin(service, quota_bytes=100) as upload:
        upload.write(b"x" * 5)
        put_within(service, 80, 100)
        upload.write(b"x" * 6)
        with pytest.raises(QuotaError):
            upload.write(b"x" * 10)


def test_slow_one_is_not_given_up(
    service: Service, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that comes slowly but comes is touched by time, however little that is."""
    monkeypatch.setattr(files, "TOUCH_EVERY_S", 0.0)
    with begin(service) as upload:
        for _ in range(3):
            clock.advance(ABANDONED_AFTER_MS - 1)
            upload.write(b"x")
            files.clean_up(service.database, service.store)
        upload.seal()
        with service.database.write() as tx:
            upload.enter(tx)
    assert states(service) == [FileState.PROCESSED]


@pytest.mark.parametrize("is_sealed", [False, True])
def test_abandoned(service: Service, settings: Settings, clock: FakeClock, is_sealed: bool) -> None:
    """Nothing for an hour: its writer was killed, and what it left goes. Should it live after all, it is told."""
    upload = begin(service)
    upload.write(b"x")
    clock.advance(ABANDONED_AFTER_MS)
    assert files.clean_up(service.database, service.store) == 0
    clock.advance(1)
    assert files.clean_up(service.database, service.store) == 1
    assert (rows(service), objects(settings)) == ([], [])

    def go_on() -> None:
        with upload:
            if is_sealed:
                upload.seal()
            with service.database.write() as tx:
                upload.enter(tx)

    with pytest.raises(ConflictError, match="given up"):
        go_on()
    assert (rows(service), objects(settings)) == ([], [])


def test_whole_at_the_last_moment(
    service: Service, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that becomes whole just as it was found idle stays."""
    name = put_file(service, b"x")
    clock.advance(ABANDONED_AFTER_MS + 1)
    with service.database.write() as tx:
        found = tx.rows(select(table.c.id).where(table.c.public_id == name))
    monkeypatch.setattr(file_rows, "_abandoned", select(table.c.id).where(table.c.id.in_([found[0].id])))
    files.clean_up(service.database, service.store)
    assert states(service) == [FileState.PROCESSED]


def test_expired(service: Service, settings: Settings, clock: FakeClock) -> None:
    """From the second on at which its time is up it cannot be seen; the next clean-up removes it, and no other."""
    kept = put_file(service, b"x")
    name = put_file(service, b"x", expires_s=3_600)
    clock.advance(3_599_999)
    files.clean_up(service.database, service.store)
    files.named(service.database, name, TENANT)
    clock.advance(1)
    with pytest.raises(NotFoundError):
        files.named(service.database, name, TENANT)
    assert [row.public_id for row in files.page(service.database, TENANT, most=10)[0]] == [kept]
    assert files.clean_up(service.database, service.store) == 1
    assert objects(settings) == [kept]


def test_many_go_at_once(
    service: Service, settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One clean-up removes all there are, however many a step takes."""
    monkeypatch.setattr(files, "REMOVED_A_STEP", 2)
    for _ in range(5):
        put_file(service, b"x", expires_s=3_600)
    clock.advance(3_600_000)
    assert files.clean_up(service.database, service.store) == 5
    assert (rows(service), objects(settings)) == ([], [])


def test_one_that_cannot_be_removed(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps no other from being removed, is gone for everyone all the same, and goes when it can."""
    monkeypatch.setattr(files, "REMOVED_A_STEP", 2)
    names = [put_file(service, b"x") for _ in range(5)]
    held = Path(service.store.url) / names[0]
    held.unlink()
    held.mkdir()
    (held / "in the way").touch()
    with service.database.write() as tx:
        for row in file_rows.page(tx, TENANT, most=10):
            file_rows.drop(tx, row.id)
    assert files.clean_up(service.database, service.store) == 4
    assert objects(settings) == [names[0]]
    assert files.page(service.database, TENANT, most=10) == ([], False)
    (held / "in the way").unlink()
    held.rmdir()
    assert files.clean_up(service.database, service.store) == 1
    assert rows(service) == []


def test_deleted_while_it_is_read(service: Service) -> None:
    """Whoever is reading it from a folder reads it to its end."""
    name = put_file(service, b"x" * 3_000_000)
    row = files.named(service.database, name, TENANT)
    chunks = files.content(service.store, row)
    first = next(chunks)
    files.delete(service.database, service.store, name, TENANT)
    assert len(first) + sum(map(len, chunks)) == 3_000_000
    with pytest.raises(NotFoundError):
        files.delete(service.database, service.store, name, TENANT)


def test_deleted_with_the_store_away(service: Service, settings: Settings) -> None:
    """It is gone for everyone at once, and its object with the first clean-up that reaches the store."""
    name = put_file(service, b"x")
    folder = Path(service.store.url)
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("in the way")
    files.delete(service.database, service.store, name, TENANT)
    with pytest.raises(NotFoundError):
        files.named(service.database, name, TENANT)
    folder.unlink()
    folder.with_name("elsewhere").rename(folder)
    files.clean_up(service.database, service.store)
    assert (rows(service), objects(settings)) == ([], [])


@pytest.mark.parametrize("name", ["file-unknown", "", "file-\0", "file-x' OR '1'='1"])
def test_unknown_and_others(service: Service, name: str) -> None:
    """A name that is nobody's, and one that is another tenant's, are one and the same to whoever asks."""
    theirs = put_file(service, b"x", tenant="other")
    for asked in (name, theirs):
        with pytest.raises(NotFoundError, match="No such File object"):
            files.named(service.database, asked, TENANT)


def test_a_store_that_cannot_be_written_to(service: Service) -> None:
    """It is told, and no row is left of a file that never began."""
    Path(service.settings.home).mkdir(exist_ok=True)
    Path(service.store.url).write_text("in the way")
    with pytest.raises(StoreError):
        begin(service)
    assert rows(service) == []


@pytest.mark.parametrize(
    "drop",
    [file_rows.drop_expired, lambda tx, most: file_rows.drop_abandoned(tx, idle_ms=HOUR_MS, most=most)],
)
def test_nothing_to_drop(service: Service, drop: Callable[[Transaction, int], int]) -> None:
    """Where there is nothing, nothing is found."""
    put_file(service, b"x")
    with service.database.write() as tx:
        assert drop(tx, 10) == 0
    assert states(service) == [FileState.PROCESSED]
