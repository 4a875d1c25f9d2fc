"""The clerk: what was handed in is read once and whole, what is owed is written once and whole; on both databases."""

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import func, select

from batchmill.budgets.edits import Changes
from batchmill.budgets.model import Period, Scope
from batchmill.errors import DatabaseError, StoppedError, StoreError
from batchmill.requests.model import BatchState, RequestState
from batchmill.settings import Settings
from db import batches, hosted, sweep
from db.audit import audit
from db.engine import Database
from db.tables import files as file_table
from db.tables import requests as request_table
from tests.support.clocks import FakeClock
from tests.support.replies import REFUSED, make_judge
from tests.support.serving import (
    TENANT,
    answer_all,
    content_of,
    create,
    hand_in,
    line_of,
    objects,
    put_file,
    row_of,
    service_on,
)
from workers import budgets, intake, steering
from workers.serving import clerk as clerk_module
from workers.serving import files, lease, reading
from workers.serving.batch_object import batch_object
from workers.serving.clerk import Clerk, Office, clean_up
from workers.serving.lease import LEASE_MS, LostError
from workers.serving.service import Service

HOUR_MS = 3_600_000


@pytest.fixture
def service(database: Database, settings: Settings) -> Iterator[Service]:
    """A service without its processes, whose books are in order in the end."""
    service = service_on(database, settings)
    yield service
    assert [finding for finding in audit(database) if finding.level != "ok"] == []


def lines(number: int) -> bytes:
    return b"".join(line_of(f"line-{n}") for n in range(number))


def stored(service: Service) -> int:
    with service.database.read() as tx:
        return int(tx.rows(select(func.count()).select_from(request_table))[0][0])


def told(service: Service, batch: int) -> list[tuple[int | None, str]]:
    """What was wrong with a batch's file, as its producer sees it."""
    shown = batch_object(service.database, row_of(service, batch))
    assert shown["status"] == "failed"
    return [(fault["line"], fault["code"]) for fault in shown["errors"]["data"]]


def end_all(service: Service) -> None:
    """The sweep, and all that clerks have to do."""
    sweep.sweep(service.database, make_judge(), owner="test")
    clerk = Clerk(service)
    while clerk.step():
        pass


def test_from_a_file_to_files(service: Service) -> None:
    """Each line is asked once, each answer stands in the output file in input order, with what the calls came to."""
    started: list[Any] = []
    clerk = Clerk(service, started.append)
    batch = hand_in(service, lines(5))
    assert clerk.step()
    row = row_of(service, batch)
    assert (row.state, row.total, row.model) == (BatchState.IN_PROGRESS, 5, "gpt-4o-mini")
    assert [row.id for row in started] == [batch]
    assert not clerk.step()
    answer_all(service.database)
    assert clerk.step()
    shown = batch_object(service.database, row_of(service, batch))
    assert shown["status"] == "completed"
    assert shown["error_file_id"] is None
    assert [line["custom_id"] for line in content_of(service, shown["output_file_id"])] == [
        f"line-{n}" for n in range(5)
    ]
    assert shown["usage"]["input_tokens"] == 5 * 7
    assert shown["usage"]["total_tokens"] == 5 * 8
    assert not clerk.step()


def test_all_lines_fail(service: Service) -> None:
    """It is completed all the same, without an output file."""
    batch = hand_in(service, lines(3))
    Clerk(service).step()
    answer_all(service.database, REFUSED)
    end_all(service)
    shown = batch_object(service.database, row_of(service, batch))
    assert (shown["status"], shown["output_file_id"]) == ("completed", None)
    assert len(content_of(service, shown["error_file_id"])) == 3
    assert shown["request_counts"] == {"total": 3, "completed": 0, "failed": 3}


def test_result_files_expire(service: Service, settings: Settings, clock: FakeClock) -> None:
    """So long after they were made as was asked for; the batch goes on naming them."""
    batch = create(service, put_file(service, lines(1)), output_expires_s=3_600)
    Clerk(service).step()
    answer_all(service.database)
    clock.advance(HOUR_MS)
    end_all(service)
    output = row_of(service, batch).output_file
    clock.advance(HOUR_MS - 1)
    clean_up(service)
    assert output in objects(settings)
    clock.advance(1)
    clean_up(service)
    assert output not in objects(settings)
    assert row_of(service, batch).output_file == output


def test_models_that_differ(service: Service) -> None:
    """A batch of several models names none."""
    batch = hand_in(service, b"".join(line_of(str(n), f"model-{n % 2}") for n in range(4)))
    Clerk(service).step()
    assert row_of(service, batch).model == ""


FAULTY: dict[str, tuple[bytes, list[tuple[int | None, str]]]] = {
    "no json": (line_of("a") + b"{\n" + line_of("b"), [(2, "invalid_json_line")]),
    "twice": (
        line_of("a") + line_of("b") + line_of("a") + line_of("b"),
        [(3, "duplicate_custom_id"), (4, "duplicate_custom_id")],
    ),
    "in order": (
        b"[]\n" + line_of("a") + b"nonsense\n" + line_of("a"),
        [(None, "invalid_json_line")],
    ),
    "both": (
        line_of("a") + b"nonsense\n" + line_of("a") + b"{}\n",
        [
            (2, "invalid_json_line"),
            *[(4, "missing_required_parameter")] * 4,
            (3, "duplicate_custom_id"),
        ],
    ),
    "other endpoint": (line_of("a", url="/v1/embeddings"), [(1, "invalid_url"), (1, "invalid_request")]),
    "nothing": (b"\n\n", [(None, "invalid_input")]),
    "odd names": (line_of("a", url="/v1/\0"), [(1, "invalid_url")]),
}


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_wrong_is_told(service: Service, name: str) -> None:
    """All of it, in the order in which it is found, repeated names last; nothing of it is stored or asked."""
    data, faults = FAULTY[name]
    batch = hand_in(service, data)
    Clerk(service).step()
    assert told(service, batch) == faults
    assert stored(service) == 0
    assert row_of(service, batch).ended_ms is not None


def test_faults_up_to_a_bound(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many the first are told, and how many more there are."""
    monkeypatch.setattr(hosted, "MOST_FAULTS", 3)
    batch = hand_in(service, b"x\n" * 8)
    Clerk(service).step()
    assert told(service, batch) == [(n, "invalid_json_line") for n in (1, 2, 3)] + [(None, "too_many_errors")]
    with service.database.read() as tx:
        assert hosted.faults(tx, [batch])[batch][-1].message == "5 more faults are not listed."


@pytest.mark.parametrize("line", [b"x\n", line_of("again")])
def test_a_file_of_faults_is_read_no_further(
    service: Service, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    """Once it is plain that it is none of requests, its faults fill no memory."""
    monkeypatch.setattr(hosted, "MOST_FAULTS", 3)
    monkeypatch.setattr(reading, "MOST_BAD", 5)
    batch = hand_in(service, line * 50)
    Clerk(service).step()
    assert len(told(service, batch)) == 4
    with service.database.read() as tx:
        assert hosted.faults(tx, [batch])[batch][-1].message == "2 more faults are not listed."


@pytest.mark.parametrize("expires_s", [None, 3_600])
def test_file_gone(service: Service, clock: FakeClock, expires_s: int | None) -> None:
    """Deleted or expired before it is read: the batch fails, and says which file it is."""
    name = put_file(service, lines(1), expires_s=expires_s)
    batch = create(service, name)
    if expires_s is None:
        files.delete(service.database, service.store, name, TENANT)
    else:
        clock.advance(expires_s * 1_000)
    Clerk(service).step()
    assert told(service, batch) == [(None, "invalid_request")]
    shown = batch_object(service.database, row_of(service, batch))["errors"]["data"][0]
    assert (shown["param"], name in shown["message"]) == ("file_id", True)


def test_model_without_a_price(service: Service, settings: Settings) -> None:
    """What a budget refuses is told with what to do about it."""
    limits = {Period.TOTAL: 10**9}
    budgets.set_budgets(service.database, settings, Scope.TENANT, TENANT, limits, Changes())
    batch = hand_in(service, line_of("a", "nobodys-model"))
    Clerk(service).step()
    assert told(service, batch) == [(None, "unpriced_model")]
    assert stored(service) == 0


def test_store_away(service: Service, clock: FakeClock) -> None:
    """A batch whose file cannot be read waits, fails nobody, and is read when the store is back, after a pause."""
    batch = hand_in(service, lines(2))
    folder = Path(service.store.url)
    folder.rename(folder.with_name("elsewhere"))
    clerk = Clerk(service)
    with pytest.raises(StoreError):
        clerk.step()
    assert not clerk.step()
    folder.with_name("elsewhere").rename(folder)
    clock.advance(lease.AGAIN_AFTER_MS)
    assert clerk.step()
    assert row_of(service, batch).state == BatchState.IN_PROGRESS


def test_store_away_when_files_are_owed(service: Service, settings: Settings, clock: FakeClock) -> None:
    """The batch stays `finalizing` until they can be written, and nothing is left of the failed try."""
    batch = hand_in(service, lines(2))
    clerk = Clerk(service)
    clerk.step()
    answer_all(service.database)
    folder = Path(service.store.url)
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("in the way")
    with pytest.raises(StoreError):
        clerk.step()
    assert row_of(service, batch).state == BatchState.FINALIZING
    folder.unlink()
    folder.with_name("elsewhere").rename(folder)
    clock.advance(lease.AGAIN_AFTER_MS)
    clerk.step()
    row = row_of(service, batch)
    assert row.state == BatchState.COMPLETED
    assert objects(settings) == sorted([row.input_file, row.output_file])


@pytest.fixture
def halt(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Has something done before that line is read; lines are stored two at a time."""
    monkeypatch.setattr(intake, "CHUNK", 2)
    read_lines = reading.read_lines

    def halt(nth: int, do: Callable[[], None]) -> None:
        def halted(stream: io.BufferedReader, **how: Any) -> Iterator[Any]:
            for number, line in enumerate(read_lines(stream, **how), 1):
                if number == nth:
                    do()
                yield line

        monkeypatch.setattr(reading, "read_lines", halted)

    def restore_after(nth: int, do: Callable[[], None]) -> None:
        def once() -> None:
            monkeypatch.setattr(reading, "read_lines", read_lines)
            do()

        halt(nth, once)

    return restore_after


def die() -> None:
    raise SystemExit("kill -9")


def test_killed_while_it_reads(service: Service, clock: FakeClock, halt: Callable[..., None]) -> None:
    """What it had stored goes, and another reads all of it anew once the lease has run out; each line is there once."""
    batch = hand_in(service, lines(9))
    with service.database.write() as tx:
        row = hosted.take(tx, "killed", LEASE_MS)
    halt(6, die)
    held = lease.Lease(database=service.database, row=row, clerk="killed", stopping=threading.Event())
    with pytest.raises(SystemExit):
        reading.read(service, held)
    assert stored(service) == 4
    other = Clerk(service)
    assert not other.step()
    clock.advance(LEASE_MS)
    assert other.step()
    assert (row_of(service, batch).total, stored(service)) == (9, 9)


def test_lost_while_it_reads(service: Service, clock: FakeClock, halt: Callable[..., None]) -> None:
    """A clerk that was held up, and whose batch another has read meanwhile, stores and starts nothing more."""
    batch = hand_in(service, lines(9))

    def be_late() -> None:
        clock.advance(LEASE_MS)
        assert Clerk(service).step()

    halt(4, be_late)
    started: list[Any] = []
    with pytest.raises(LostError):
        Clerk(service, started.append).step()
    assert started == []
    assert (row_of(service, batch).total, stored(service)) == (9, 9)
    answer_all(service.database)
    end_all(service)
    assert row_of(service, batch).done == 9


def test_renewed_while_it_reads(service: Service, clock: FakeClock, halt: Callable[..., None]) -> None:
    """However long it takes: what is stored renews the lease."""
    batch = hand_in(service, lines(9))

    def be_slow() -> None:
        clock.advance(LEASE_MS - 1)

    halt(4, be_slow)
    assert Clerk(service).step()
    assert row_of(service, batch).state == BatchState.IN_PROGRESS


def test_renewed_beside_what_takes_long(
    service: Service, clock: FakeClock, halt: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What outlasts the lease, in the database or the store, does not cost it: another thread renews it."""
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.01)
    batch = hand_in(service, lines(3))
    renewed = threading.Event()
    renew = hosted.renew

    def seen(*given: Any, **named: Any) -> bool:
        renewed.set()
        return renew(*given, **named)

    monkeypatch.setattr(hosted, "renew", seen)

    def take_long() -> None:
        for _ in range(3):
            clock.advance(LEASE_MS - 1)
            renewed.clear()
            assert renewed.wait(30)

    halt(2, take_long)
    assert Clerk(service).step()
    assert row_of(service, batch).state == BatchState.IN_PROGRESS


def test_cancelled_while_it_is_read(service: Service, settings: Settings, halt: Callable[..., None]) -> None:
    """Nothing of it is asked, nothing stays stored, and it ends as cancelled with no files."""
    batch = hand_in(service, lines(9))
    halt(4, lambda: steering.cancel(service.database, settings, row_of(service, batch)))
    with pytest.raises(LostError):
        Clerk(service).step()
    end_all(service)
    shown = batch_object(service.database, row_of(service, batch))
    assert (shown["status"], shown["output_file_id"], shown["error_file_id"]) == ("cancelled", None, None)
    assert shown["request_counts"]["total"] == stored(service) == 0


def test_cancelled_before_it_is_read(service: Service, settings: Settings) -> None:
    """So it ends where nobody had begun."""
    batch = hand_in(service, lines(2))
    assert steering.cancel(service.database, settings, row_of(service, batch)).state == BatchState.CANCELLING
    assert steering.cancel(service.database, settings, row_of(service, batch)).state == BatchState.CANCELLING
    end_all(service)
    assert row_of(service, batch).state == BatchState.CANCELLED


def test_cancelled_as_it_starts(service: Service, settings: Settings) -> None:
    """Whoever saw it `validating` ends it all the same when it has started since."""
    batch = hand_in(service, lines(2))
    seen = row_of(service, batch)
    Clerk(service).step()
    steering.cancel(service.database, settings, seen)
    end_all(service)
    row = row_of(service, batch)
    assert row.state == BatchState.CANCELLED
    codes = [line["error"]["code"] for line in content_of(service, row.error_file)]
    assert codes == ["batch_cancelled"] * 2


def test_cancelled_while_it_runs(service: Service, settings: Settings) -> None:
    """What was answered stays in the output file, the rest is in the error file."""
    batch = hand_in(service, lines(4))
    Clerk(service).step()
    answer_all(service.database, most=1)
    steering.cancel(service.database, settings, row_of(service, batch))
    end_all(service)
    row = row_of(service, batch)
    assert row.state == BatchState.CANCELLED
    assert (len(content_of(service, row.output_file)), len(content_of(service, row.error_file))) == (1, 3)


def test_cancelled_while_it_is_paused(service: Service, settings: Settings) -> None:
    """It ends like any other."""
    batch = hand_in(service, lines(2))
    Clerk(service).step()
    steering.pause(service.database, settings, row_of(service, batch))
    end_all(service)
    assert row_of(service, batch).state == BatchState.PAUSED
    steering.cancel(service.database, settings, row_of(service, batch))
    end_all(service)
    assert row_of(service, batch).state == BatchState.CANCELLED


@pytest.mark.parametrize("moment", ["unread", "running", "paused", "finalizing"])
def test_time_is_up(service: Service, settings: Settings, clock: FakeClock, moment: str) -> None:
    """Whatever state it is in: it expires, or, when all its lines have ended, is completed."""
    batch = hand_in(service, lines(2), window_s=3_600)
    if moment != "unread":
        Clerk(service).step()
    if moment == "paused":
        steering.pause(service.database, settings, row_of(service, batch))
    if moment == "finalizing":
        answer_all(service.database)
    clock.advance(HOUR_MS)
    end_all(service)
    row = row_of(service, batch)
    assert row.state == (BatchState.COMPLETED if moment == "finalizing" else BatchState.EXPIRED)
    if moment in ("running", "paused"):
        codes = [line["error"]["code"] for line in content_of(service, row.error_file)]
        assert codes == ["batch_expired"] * 2


@pytest.mark.parametrize(
    ("final_state", "statuses"),
    [
        (BatchState.CANCELLED, ["in_progress", "cancelling", "cancelling", "cancelled"]),
        (BatchState.EXPIRED, ["in_progress", "in_progress", "finalizing", "expired"]),
        (BatchState.COMPLETED, ["in_progress", "finalizing", "completed"]),
    ],
)
def test_states_as_clients_expect_them(
    service: Service, final_state: BatchState, statuses: list[str]
) -> None:
    """A batch that is cancelled is `cancelling` until its files are written; one that expires never is."""
    batch = hand_in(service, lines(2))
    Clerk(service).step()
    seen: list[str] = []

    def look() -> None:
        seen.append(batch_object(service.database, row_of(service, batch))["status"])

    look()
    if final_state is BatchState.COMPLETED:
        answer_all(service.database)
    else:
        with service.database.write() as tx:
            batches.cancel(tx, batch, final_state)
        look()
        sweep.end_idle(service.database, batch, final_state)
    look()
    end_all(service)
    look()
    assert seen == statuses
    cancelled_at = batch_object(service.database, row_of(service, batch))["cancelling_at"]
    assert (cancelled_at is not None) == (final_state is BatchState.CANCELLED)


def finalizing(service: Service, number: int = 4) -> int:
    batch = hand_in(service, lines(number))
    Clerk(service).step()
    answer_all(service.database)
    assert row_of(service, batch).state == BatchState.FINALIZING
    return batch


def test_lost_while_it_writes(
    service: Service, settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that write the same batch's files one is kept, whole; nothing of the other is left."""
    batch = finalizing(service)
    seal = files.Upload.seal

    def be_late(upload: files.Upload) -> None:
        monkeypatch.setattr(files.Upload, "seal", seal)
        seal(upload)
        clock.advance(LEASE_MS)
        assert Clerk(service).step()

    monkeypatch.setattr(files.Upload, "seal", be_late)
    with pytest.raises(LostError):
        Clerk(service).step()
    row = row_of(service, batch)
    assert len(content_of(service, row.output_file)) == 4
    assert objects(settings) == sorted([row.input_file, row.output_file])


def test_killed_while_it_writes(service: Service, settings: Settings, clock: FakeClock) -> None:
    """Another writes them anew; what was left half-written goes within an hour and a clean-up."""
    batch = finalizing(service)
    with service.database.write() as tx:
        hosted.take(tx, "killed", LEASE_MS)
    left = files.Upload(service.database, service.store, tenant=TENANT, purpose="batch_output", filename="x")
    left.write(b"half a li")
    left._writing._file.close()
    clock.advance(LEASE_MS)
    end_all(service)
    row = row_of(service, batch)
    assert len(content_of(service, row.output_file)) == 4
    clock.advance(files.ABANDONED_AFTER_MS)
    clean_up(service)
    assert objects(settings) == sorted([row.input_file, row.output_file])


def test_committed_without_being_told_of_it(
    service: Service, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the connection dies at the commit that ends a batch, its files stay: it has them by then."""
    batch = finalizing(service)
    end = hosted.finish

    def lose(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(hosted, "finish", end)
        end(*given, **named)
        given[0].connection.commit()
        raise DatabaseError("the connection died", "")

    monkeypatch.setattr(hosted, "finish", lose)
    with pytest.raises(DatabaseError):
        Clerk(service).step()
    row = row_of(service, batch)
    assert row.state == BatchState.COMPLETED
    assert len(content_of(service, row.output_file)) == 4


@pytest.mark.parametrize("moment", ["reading", "writing"])
def test_stopped(service: Service, settings: Settings, halt: Callable[..., None], moment: str) -> None:
    """It stops at the next line, and whoever comes next need not wait for its lease."""
    batch = hand_in(service, lines(9)) if moment == "reading" else finalizing(service)
    clerk = Clerk(service)
    if moment == "reading":
        halt(4, clerk.wind_up)
    else:
        clerk.wind_up()
    with pytest.raises(StoppedError):
        clerk.step()
    before = row_of(service, batch)
    assert before.clerk == ""
    assert objects(settings) == [before.input_file]
    assert Clerk(service).step()
    assert row_of(service, batch).state != before.state


def test_an_error_of_ours_stops_no_clerk(
    service: Service, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    """A batch that we cannot cope with rests; others are read meanwhile."""
    odd, good = hand_in(service, lines(1)), hand_in(service, lines(1))
    read = clerk_module.read

    def stumble(service: Service, held: lease.Lease) -> bool:
        if held.row.id == odd:
            raise ZeroDivisionError
        return read(service, held)

    monkeypatch.setattr(clerk_module, "read", stumble)
    monkeypatch.setattr(clerk_module, "LOOK_EVERY_S", 0.001)
    seen = threading.Event()
    with Office(service, lambda _: seen.set()):
        assert seen.wait(30)
    assert row_of(service, good).state == BatchState.IN_PROGRESS
    assert row_of(service, odd).state == BatchState.VALIDATING


def test_failed_half_way(service: Service, monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    """A clerk that is killed when it has failed a batch, its rows still there, leaves them to the sweep."""
    monkeypatch.setattr(intake, "CHUNK", 1)
    batch = hand_in(service, lines(3) + b"x\n")
    monkeypatch.setattr(reading, "discard_rows", lambda *_: None)
    monkeypatch.setattr(batches, "forget", lambda *_: None)
    Clerk(service).step()
    assert stored(service) > 0
    monkeypatch.undo()
    clock.advance(sweep.ABANDONED_AFTER_MS + 1)
    end_all(service)
    assert stored(service) == 0
    assert row_of(service, batch).ended_ms is not None


def test_of_another_tenant(service: Service) -> None:
    """A file that is not its tenant's is no file to a batch, whoever wrote that row."""
    theirs = put_file(service, lines(1), tenant="other")
    batch = hand_in(service, lines(1))
    with service.database.write() as tx:
        row = batches.rows(tx, [batch])[batch]
        hosted.describe(
            tx,
            batch,
            input_file=theirs,
            endpoint=row.endpoint,
            window_s=row.window_s,
            output_expires_s=None,
            metadata="",
        )
    Clerk(service).step()
    assert told(service, batch) == [(None, "invalid_request")]


def test_a_very_long_line(service: Service) -> None:
    """One beyond the limit is told with its number, and none of it stays in memory."""
    long = b'{"custom_id": "' + b"x" * (service.settings.input.max_line_bytes + 10) + b'"}\n'
    batch = hand_in(service, line_of("a") + long + line_of("b"))
    Clerk(service).step()
    assert told(service, batch) == [(2, "invalid_request")]


def test_states_of_lines_are_those_of_any_batch(service: Service) -> None:
    """What the clerk stores is what workers claim."""
    hand_in(service, lines(2))
    Clerk(service).step()
    with service.database.read() as tx:
        found = tx.rows(select(request_table.c.state))
        assert {row.state for row in found} == {RequestState.PENDING}
        assert len(tx.rows(select(file_table.c.id))) == 1
    assert orjson.loads(line_of("a"))["method"] == "POST"
