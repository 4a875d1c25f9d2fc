"""Results by the page: each line once, whatever the order of endings and the sizes of pages."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchmill.errors import ParameterError
from batchmill.requests.ids import request_id
from batchmill.results.cursor import read_cursor
from batchmill.settings import Settings
from db import batches
from db.engine import Database
from tests.support.hands import Worker, add_batch, batch_of
from tests.support.replies import ANSWERED, REFUSED
from workers import steering
from workers.serving import results
from workers.serving.results import ResultPage, result_page, told_results


class Reader:
    """Somebody who keeps nothing but a cursor."""

    def __init__(self, database: Database, settings: Settings, batch: int) -> None:
        self._database, self._settings, self._batch = database, settings, batch
        self.after = ""
        self.has_more = True
        self.seen: list[int] = []

    def take(self, most: int = 100, **options: int) -> list[int]:
        """The places of a page."""
        page = self.page(most, **options)
        found = places(b"".join(page.chunks))
        self.after, self.has_more = page.after, page.has_more
        self.seen += found
        return found

    def page(self, most: int = 100, **options: int) -> ResultPage:
        """A page, not taken."""
        row = batch_of(self._database, self._batch)
        return result_page(self._database, self._settings, row, self.after, most=most, **options)


def places(lines: bytes) -> list[int]:
    """The places of these lines."""
    names = [orjson.loads(line)["custom_id"] for line in lines.splitlines()]
    return [int(name.removeprefix("line-")) for name in names]


def test_lines_come_as_they_end(database: Database, settings: Settings) -> None:
    """Page by page, until there are no more and will be none."""
    batch = add_batch(database, 8)
    reader, worker = Reader(database, settings, batch), Worker(database)
    assert (reader.take(), reader.has_more) == ([], True)
    jobs = worker.take(6)
    worker.answer(ANSWERED, *jobs[2:5])
    assert reader.take(2) == [3, 4]
    worker.answer(REFUSED, jobs[0])
    assert reader.take() == [1, 5]
    worker.answer(ANSWERED, *worker.take(2), jobs[1])
    assert reader.take() == [2, 7, 8]
    assert (reader.take(), reader.has_more) == ([], True)
    worker.answer(ANSWERED, jobs[5])
    assert (reader.take(), reader.has_more) == ([6], False)
    assert (reader.take(), reader.has_more) == ([], False)


def test_a_page_that_got_lost_comes_again(database: Database, settings: Settings) -> None:
    """The same cursor gives at least the lines that it gave before: it is who asks that goes on, not we."""
    batch = add_batch(database, 4)
    reader, worker = Reader(database, settings, batch), Worker(database)
    worker.answer(ANSWERED, *worker.take(3))
    assert places(b"".join(reader.page(2).chunks)) == [1, 2]
    assert reader.take(2) == [1, 2]
    assert reader.take(2) == [3]


def test_lines_that_nobody_claimed_come_when_cancelled(database: Database, settings: Settings) -> None:
    """In pages like any others."""
    batch = add_batch(database, 7)
    reader = Reader(database, settings, batch)
    steering.cancel(database, settings, batch_of(database, batch))
    assert [reader.take(3), reader.take(3), reader.take(3)] == [[1, 2, 3], [4, 5, 6], [7]]
    assert not reader.has_more


def test_a_batch_that_was_never_accepted(database: Database, settings: Settings) -> None:
    """It has no lines, and will have none."""
    batch = add_batch(database, 0)
    with database.write() as tx:
        tx.run(batches.batches.update().values(state="validating"))
        batches.reject(tx, batch, "no good")
    reader = Reader(database, settings, batch)
    assert (reader.take(), reader.has_more) == ([], False)


def test_a_page_is_bounded_in_bytes(database: Database, settings: Settings) -> None:
    """What does not fit comes on the next; a line that would fit no page has one of its own."""
    assert ANSWERED.body is not None
    large = replace(ANSWERED, body=ANSWERED.body[:-1] + b',"pad":"' + b"x" * 10_000 + b'"}')
    batch = add_batch(database, 5)
    reader, worker = Reader(database, settings, batch), Worker(database)
    jobs = worker.take(5)
    worker.answer(large, *jobs[:4])
    assert reader.take(most_bytes=25_000) == [1, 2]
    assert reader.take(most_bytes=1) == [3]
    worker.answer(ANSWERED, jobs[4])
    assert reader.take(most_bytes=1) == [4]
    assert reader.has_more
    assert reader.take(most_bytes=25_000) == [5]
    assert not reader.has_more


def test_with_many_open_nobody_looks_further(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a cursor stays short; what lies beyond comes once some of these have ended."""
    monkeypatch.setattr(results, "MOST_OPEN", 3)
    batch = add_batch(database, 9)
    reader, worker = Reader(database, settings, batch), Worker(database)
    jobs = worker.take(9)
    worker.answer(ANSWERED, jobs[1], *jobs[5:])
    assert reader.take() == [2]
    cursor = read_cursor(reader.after, batch_of(database, batch).public_id, 9)
    assert (cursor.looked_to, list(cursor.still_open)) == (4, [1, 3, 4])
    worker.answer(ANSWERED, jobs[0])
    assert reader.take() == [1, 6, 7, 8, 9]
    worker.answer(ANSWERED, *jobs[2:5])
    assert reader.take() == [3, 4, 5]
    assert not reader.has_more


@pytest.mark.parametrize("after", ["x", "AQA", "!", "é" * 10, "A" * 100_000])
def test_what_is_no_cursor(database: Database, settings: Settings, after: str) -> None:
    """It is refused by name."""
    batch = batch_of(database, add_batch(database, 1))
    with pytest.raises(ParameterError, match="no cursor of batch") as raised:
        result_page(database, settings, batch, after, most=1)
    assert (raised.value.param, raised.value.told_code) == ("after", "invalid_value")


def test_each_line_has_its_cursor(database: Database, settings: Settings) -> None:
    """Whoever stops after any line goes on with the next."""
    batch = add_batch(database, 12)
    worker = Worker(database)
    jobs = worker.take(12)
    worker.answer(ANSWERED, *jobs[::2], jobs[9])
    row = batch_of(database, batch)

    def told(after: str) -> list[tuple[str, bytes]]:
        return [one for portion in told_results(database, settings, row, after) for one in portion]

    whole = told("")
    assert places(b"".join(line for _, line in whole)) == [1, 3, 5, 7, 9, 10, 11]
    for nth, (cursor, _) in enumerate(whole, 1):
        assert [line for _, line in told(cursor)] == [line for _, line in whole[nth:]]
    assert told(whole[-1][0]) == []
    worker.answer(ANSWERED, jobs[1])
    assert places(b"".join(line for _, line in told(whole[3][0]))) == [2, 9, 10, 11]


Steps = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.integers(1, 10)),
        st.tuples(st.just("answer"), st.integers(0, 100)),
        st.tuples(st.just("give back"), st.integers(0, 100)),
        st.tuples(st.just("page"), st.integers(1, 8)),
        st.tuples(st.just("bytes"), st.integers(1, 2_000)),
    ),
    max_size=60,
)


@contextmanager
def copied(template: Path, folder: Path) -> Iterator[Database]:
    """A fresh database, for one example."""
    path = folder / "example.db"
    for leftover in folder.glob("example.db*"):
        leftover.unlink()
    path.write_bytes(template.read_bytes())
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


@given(total=st.integers(1, 25), most_open=st.integers(1, 8), steps=Steps)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_line_once(
    sqlite_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    load: Callable[[], Settings],
    total: int,
    most_open: int,
    steps: list[tuple[str, int]],
) -> None:
    """Whatever ends in which order, and however much each page takes: none is lost, and none comes twice."""
    monkeypatch.setattr(results, "MOST_OPEN", most_open)
    with copied(sqlite_template, tmp_path) as database:
        batch = add_batch(database, total)
        reader, worker = Reader(database, load(), batch), Worker(database)
        held = []
        for what, number in steps:
            match what:
                case "claim":
                    held += worker.take(number)
                case "answer" if held:
                    worker.answer(ANSWERED, held.pop(number % len(held)))
                case "give back" if held:
                    worker.hand_back(held.pop(number % len(held)))
                case "page":
                    assert len(reader.take(number)) <= number
                case "bytes":
                    reader.take(5, most_bytes=number)
            assert len(reader.seen) == len(set(reader.seen))
        assert {request_id(batch, place) for place in reader.seen}.isdisjoint(job.request_id for job in held)
        worker.answer(ANSWERED, *held)
        while jobs := worker.take():
            worker.answer(ANSWERED, *jobs)
        while reader.has_more:
            assert reader.take(3), "there are more lines, and none came"
        assert sorted(reader.seen) == list(range(1, total + 1))


@pytest.fixture
def load(tmp_path: Path) -> Callable[[], Settings]:
    """Settings, whatever the database."""
    from batchmill.settings import load_settings

    return lambda: load_settings({"BATCHMILL_HOME": str(tmp_path / "home")}, None)
