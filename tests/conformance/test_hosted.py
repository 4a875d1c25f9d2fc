"""Hosted batches: whoever takes one holds it, and writes nothing once it is another's; on both databases."""

import threading

import pytest
from sqlalchemy import update

from batchmill.requests.model import BatchOptions, BatchState, LineError
from batchmill.settings import Settings
from db import batches, hosted, requests
from db.audit import audit
from db.engine import Database
from db.tables import batches as table
from tests.support.clocks import FakeClock
from tests.support.hands import add_batch, request_row
from tests.support.serving import answer_all, hand_in, line_of, row_of, service_on
from workers.serving.clerk import Clerk
from workers.serving.service import Service

LEASE_MS = 30_000
FAULT = LineError(line=1, code="invalid_json_line", message="no")


@pytest.fixture
def service(database: Database, settings: Settings) -> Service:
    """A service without its processes."""
    return service_on(database, settings)


def take(service: Service, clerk: str) -> int | None:
    with service.database.write() as tx:
        row = hosted.take(tx, clerk, LEASE_MS)
    return None if row is None else int(row.id)


def has_work(service: Service) -> bool:
    with service.database.read() as tx:
        return hosted.has_work(tx)


def test_the_oldest_first_each_by_one(service: Service) -> None:
    """Whoever comes takes the oldest that nobody holds."""
    old, new = hand_in(service, line_of("a")), hand_in(service, line_of("b"))
    assert [take(service, clerk) for clerk in "abc"] == [old, new, None]
    assert not has_work(service)


def test_many_takers(service: Service) -> None:
    """Takers beside each other never take the same."""
    wanted = {hand_in(service, line_of(str(n))) for n in range(8)}
    taken: list[int | None] = []
    ready = threading.Barrier(8)

    def taker(name: str) -> None:
        ready.wait(30)
        while (batch := take(service, name)) is not None:
            taken.append(batch)

    threads = [threading.Thread(target=taker, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(batch for batch in taken if batch is not None) == sorted(wanted)


def test_lease_runs_out(service: Service, clock: FakeClock) -> None:
    """It is another's from the moment it has run out; renewed it lasts as long again."""
    batch = hand_in(service, line_of("a"))
    assert take(service, "a") == batch
    clock.advance(LEASE_MS - 1)
    assert take(service, "b") is None
    with service.database.write() as tx:
        assert hosted.renew(tx, batch, "a", LEASE_MS, (BatchState.VALIDATING,))
    clock.advance(LEASE_MS - 1)
    assert take(service, "b") is None
    clock.advance(1)
    assert take(service, "b") == batch


def test_who_has_lost_it_writes_nothing(service: Service, clock: FakeClock) -> None:
    """Not a renewal, not a failure, not an end; the lease of whoever has it now stands."""
    batch = hand_in(service, line_of("a"))
    take(service, "a")
    clock.advance(LEASE_MS)
    take(service, "b")
    with service.database.write() as tx:
        assert not hosted.renew(tx, batch, "a", LEASE_MS, tuple(BatchState))
        assert not hosted.fail(tx, batch, "a", [FAULT], "no")
        assert not hosted.end_unread(tx, batch, "a")
        assert hosted.finish(tx, batch, "a", output_file="", error_file="", usage="") is None
        hosted.let_go(tx, batch, "a")
        assert hosted.faults(tx, [batch]) == {}
    row = row_of(service, batch)
    assert (row.state, row.clerk) == (BatchState.VALIDATING, "b")
    assert take(service, "c") is None


def test_let_go_for_a_while(service: Service, clock: FakeClock) -> None:
    """A batch that could not be done with rests, and others are taken meanwhile."""
    first, second = hand_in(service, line_of("a")), hand_in(service, line_of("b"))
    take(service, "a")
    with service.database.write() as tx:
        hosted.let_go(tx, first, "a", 2_000)
    assert [take(service, "a"), take(service, "a")] == [second, None]
    clock.advance(2_000)
    assert has_work(service)
    assert take(service, "a") == first


def test_only_what_is_ours(service: Service) -> None:
    """Batches of the command line, in whatever state, are none of a clerk's."""
    add_batch(service.database, 1)
    answer_all(service.database)
    with service.database.write() as tx:
        batches.create(tx, BatchOptions())
    assert take(service, "a") is None
    assert not has_work(service)


def test_cancelled_while_it_is_read(service: Service) -> None:
    """Its reader learns of it at the next renewal, and another may end it at once."""
    batch = hand_in(service, line_of("a"))
    take(service, "a")
    with service.database.write() as tx:
        assert hosted.cancel_unread(tx, batch)
        assert not hosted.cancel_unread(tx, batch)
        assert not hosted.renew(tx, batch, "a", LEASE_MS, (BatchState.VALIDATING,))
    assert take(service, "b") == batch
    with service.database.write() as tx:
        assert hosted.end_unread(tx, batch, "b")
    assert row_of(service, batch).state == BatchState.CANCELLED


def test_time_is_up_before_it_is_read(service: Service, clock: FakeClock) -> None:
    """It expires, and only then; one that runs is not meant."""
    late, running = (
        hand_in(service, line_of("a"), window_s=3_600),
        hand_in(service, line_of("b"), window_s=3_600),
    )
    with service.database.write() as tx:
        tx.run(update(table).where(table.c.id == running).values(state="in_progress"))
    clock.advance(3_600_000 - 1)
    with service.database.write() as tx:
        assert hosted.expire_unread(tx) == 0
    clock.advance(1)
    with service.database.write() as tx:
        assert hosted.expire_unread(tx) == 1
    assert row_of(service, running).state == "in_progress"
    Clerk(service).step()
    row = row_of(service, late)
    assert (row.state, row.cancelling_ms) == (BatchState.EXPIRED, None)


def test_what_cannot_be_written_as_it_is(service: Service) -> None:
    """A fault that quotes what no database takes fails its batch all the same."""
    batch = hand_in(service, line_of("a"))
    take(service, "a")
    odd = LineError(line=None, code="x", message="a\0b")
    with service.database.write() as tx:
        assert hosted.fail(tx, batch, "a", [odd], "c\0d")
        (told,) = hosted.faults(tx, [batch])[batch]
    assert told.message.replace("\N{REPLACEMENT CHARACTER}", "\0") == "a\0b"


def unsound(service: Service) -> list[str]:
    return [finding.check for finding in audit(service.database) if finding.level != "ok"]


def test_doctor_while_one_is_cancelled(service: Service) -> None:
    """With rows stored of a batch that is cancelled before it starts, nothing is wrong: they go next."""
    batch = hand_in(service, line_of("a"))
    with service.database.write() as tx:
        requests.add(tx, [request_row(batch, 1, None)])
    assert unsound(service) == []
    with service.database.write() as tx:
        hosted.cancel_unread(tx, batch)
    assert unsound(service) == []
    Clerk(service).step()
    assert unsound(service) == []
    assert row_of(service, batch).state == BatchState.CANCELLED
