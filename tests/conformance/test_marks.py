"""Marks: what is said of answers, on both databases; and that what is marked stays."""

import io
import json
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text

from batchmill.errors import InvalidLinesError
from batchmill.requests.model import LineError
from batchmill.training.marks import Mark
from batchmill.training.orders import read_orders
from db import marks
from db.cache_contents import Choice, drop, would_drop
from db.cache_drops import Dropped
from db.engine import Database
from db.marks import Filter, Marking
from db.tables import answers, cache_entries, inputs, requests
from tests.support.audit import audit
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, answer_late, batch_of
from tests.support.replies import ANSWERED, REFUSED
from workers import marking

DAY_MS = 86_400_000


def ask(database: Database, *keys: str | None, **options: Any) -> str:
    """A batch of these questions, answered; its name."""
    worker = Worker(database)
    batch = add_batch(database, keys, **options)
    worker.answer(ANSWERED, *worker.take())
    name: str = batch_of(database, batch).public_id
    return name


def mark(
    database: Database, batch: str, *lines: dict[str, Any], by: str = "ana", **how: Any
) -> marking.Marked:
    """Mark by these lines, as a file would give them."""
    given = io.BufferedReader(io.BytesIO(b"\n".join(json.dumps(line).encode() for line in lines)))  # type: ignore[arg-type]
    told: list[LineError] = []
    return marking.mark(
        database,
        read_orders(given, batch=batch, said=Mark()),
        marked_by=by,
        on_bad_line=told.append,
        **how,
    )


def listed(database: Database, **which: Any) -> list[tuple[str, int | None, bool, list[str], str]]:
    """What is marked, the last marked first."""
    with database.read() as tx:
        return [
            (row.custom_id, row.rating, row.verified, marks.tags_of(row), row.marked_by)
            for row in marks.listed(tx, Filter(**which), most=100)
        ]


def test_what_is_said_is_kept(database: Database, clock: FakeClock) -> None:
    """What a later mark does not say stays; saying the same again changes nothing, not even when."""
    batch = ask(database, "a", "b")
    first = mark(
        database,
        batch,
        {"custom_id": "line-1", "rating": 4, "tags": ["x", "y"]},
        {"custom_id": "line-2", "rating": 0},
    )
    assert (first.named, first.changed) == (2, 2)
    clock.advance(1_000)
    assert mark(database, batch, {"custom_id": "line-1", "verified": True}, by="bob").changed == 1
    assert listed(database) == [("line-1", 4, True, ["x", "y"], "bob"), ("line-2", 0, False, [], "ana")]
    before = source = _standing(database)
    clock.advance(1_000)
    assert mark(database, batch, {"custom_id": "line-1", "rating": 4}).changed == 0
    assert _standing(database) == before == source
    audit(database)


def _standing(database: Database) -> marks.Standing:
    with database.read() as tx:
        return marks.standing(tx)


def test_a_mark_is_taken_off(database: Database) -> None:
    """Its answer is marked no more, and its entry has no rating."""
    batch = ask(database, "a")
    mark(database, batch, {"custom_id": "line-1", "rating": 5, "verified": True})
    assert entry_of(database, "a") == (5, True)
    assert mark(database, batch, {"custom_id": "line-1"}, is_removal=True).changed == 1
    assert mark(database, batch, {"custom_id": "line-1"}, is_removal=True).changed == 0
    assert (listed(database), entry_of(database, "a")) == ([], (None, False))


def entry_of(database: Database, key: str) -> tuple[float | None, bool]:
    """Rating and verification of an entry of the cache."""
    with database.read() as tx:
        (row,) = tx.rows(select(cache_entries).where(cache_entries.c.cache_key == key))
    return row.rating, row.verified


def test_a_hit_is_the_same_answer(database: Database) -> None:
    """Marked by a line that the cache answered: one mark, on the answer, and on its entry."""
    first, second = ask(database, "a"), ask(database, "a")
    mark(database, second, {"custom_id": "line-1", "rating": 3})
    mark(database, first, {"custom_id": "line-1", "verified": True})
    assert [row[1:3] for row in listed(database)] == [(3, True)]
    assert entry_of(database, "a") == (3, True)


def test_a_newer_answer_is_not_rated_yet(database: Database, clock: FakeClock) -> None:
    """What was said of the answer that an entry stood for before is not said of the next."""
    mark(database, ask(database, "a"), {"custom_id": "line-1", "rating": 5, "verified": True})
    clock.advance(60 * DAY_MS)
    ask(database, "a")
    assert entry_of(database, "a") == (None, False)


def test_bad_lines_are_all_told_and_nothing_is_marked(database: Database) -> None:
    """Each with its number: no such line, no such batch, a failed one, a wrong value, twice the same, nothing said."""
    batch = ask(database, "a", "b")
    worker = Worker(database)
    failed = add_batch(database, ["c"])
    worker.answer(REFUSED, *worker.take())
    lines: list[dict[str, Any]] = [
        {"custom_id": "line-1", "rating": 5},
        {"custom_id": "line-9", "rating": 5},
        {"custom_id": "line-1", "batch": "batch_ffffffffffff", "rating": 5},
        {"custom_id": "line-1", "batch": batch_of(database, failed).public_id, "rating": 5},
        {"custom_id": "line-2", "rating": 6},
        {"custom_id": "line-2", "ratting": 5},
        {"custom_id": "line-1", "rating": 4},
        {"custom_id": "line-2"},
        {"rating": 1},
    ]
    told: list[LineError] = []
    given = io.BufferedReader(io.BytesIO(b"\n".join(json.dumps(line).encode() for line in lines)))  # type: ignore[arg-type]
    orders = read_orders(given, batch=batch, said=Mark())
    with pytest.raises(InvalidLinesError):
        marking.mark(database, orders, marked_by="", on_bad_line=told.append)
    assert [error.line for error in told] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert listed(database) == []


@pytest.mark.parametrize("table", ["custom_id;rating;verified;tags\nline-1;4;yes;x,y\nline-2;;no;\n"])
def test_a_table_of_marks(database: Database, table: str) -> None:
    """As a spreadsheet saves it; an empty cell says nothing."""
    batch = ask(database, "a", "b")
    orders = read_orders(
        io.BufferedReader(io.BytesIO(table.encode())),  # type: ignore[arg-type]
        batch=batch,
        said=Mark(),
    )
    marking.mark(database, orders, marked_by="ana", on_bad_line=lambda bad: None)
    assert sorted(listed(database)) == [
        ("line-1", 4, True, ["x", "y"], "ana"),
        ("line-2", None, False, [], "ana"),
    ]


def test_the_best_come_first(database: Database) -> None:
    """Verified before rated, then by rating, then as they were answered; filters leave out what is not meant."""
    said: list[dict[str, Any]] = [
        {"rating": 3},
        {"rating": 5},
        {"verified": True},
        {"rating": 4},
        {"rating": 2, "verified": True, "tags": "math"},
        {"tags": "math"},
    ]
    batch = ask(database, *"abcdef", request_type="sums")
    mark(database, batch, *({"custom_id": f"line-{nth}", **one} for nth, one in enumerate(said, 1)))

    def chosen(wanted: Filter) -> list[tuple[int | None, bool]]:
        return [(one.rating, one.verified) for one in marks.answered(database, wanted)]

    good = Filter.good
    assert chosen(Filter()) == [(2, True), (None, True), (5, False), (4, False), (3, False), (None, False)]
    assert chosen(good(min_rating=None, verified_only=False)) == [
        (2, True),
        (None, True),
        (5, False),
        (4, False),
    ]
    assert chosen(good(min_rating=5, verified_only=False)) == [(2, True), (None, True), (5, False)]
    assert chosen(good(min_rating=None, verified_only=True)) == [(2, True), (None, True)]
    assert chosen(good(min_rating=2, verified_only=True)) == [(2, True)]
    assert chosen(Filter(tag="math")) == [(2, True), (None, False)]
    assert chosen(Filter(tag="mat")) == chosen(Filter(model="other")) == chosen(Filter(tenant="acme")) == []
    assert len(chosen(Filter(request_type="sums", tenant="local", since_ms=0))) == 6
    assert chosen(Filter(until_ms=0)) == []


def test_pages_leave_nothing_out(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are of one rating."""
    monkeypatch.setattr("db.marks.PAGE", 30)
    batch = ask(database, *(f"key-{nth}" for nth in range(25)))
    mark(database, batch, *({"custom_id": f"line-{nth}", "rating": 5} for nth in range(1, 26)))
    found = [one.answer_id for one in marks.answered(database, Filter())]
    assert (len(found), found) == (25, sorted(set(found)))


def test_a_marked_answer_outlives_its_entry_and_its_line(database: Database, clock: FakeClock) -> None:
    """Clean-up drops the entry and keeps the answer, also where its line has been deleted; without the mark it goes."""
    answer_late(database, "late")
    later = add_batch(database, ["late"])
    Worker(database).take()
    mark(database, batch_of(database, later).public_id, {"custom_id": "line-1", "rating": 5})
    with database.write() as tx:  # as retention would, if it forgot to ask
        tx.run(text("UPDATE cache_entries SET usage_count = 0"))
        tx.run(delete(requests).where(requests.c.batch_id == later))
    clock.advance(60 * DAY_MS)
    everything = Choice(made_by_ms=clock.now_ms())
    assert would_drop(database, everything) == Dropped(entries=1)
    assert drop(database, everything) == Dropped(entries=1)
    with database.read() as tx:
        kept = tx.rows(select(answers.c.id).where(answers.c.id > 0))
        assert marks.marked(tx, [row.id for row in kept]) == {row.id for row in kept} != set()


def test_what_is_gone_is_passed_over(database: Database) -> None:
    """An answer that is deleted between look and mark is not marked; one whose question is gone is told as such."""
    batch = ask(database, "a")
    mark(database, batch, {"custom_id": "line-1", "rating": 5})
    gone = Marking(request_id=1, answer_id=10**9, mark=Mark(rating=5))
    assert database.persist(lambda tx: marks.put(tx, [gone], "")) == 0
    with database.write() as tx:
        tx.run(delete(inputs))
        assert tx.rows(select(func.count()).select_from(inputs))[0][0] == 0
    (one,) = marks.answered(database, Filter())
    assert (one.question, one.answer is None) == (None, False)
