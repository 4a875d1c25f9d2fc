"""The cache's contents: what is dropped, what never is, and what the numbers say."""

from typing import Any

import pytest
from sqlalchemy import func, select, text

from batchmill.requests.model import RequestState
from db import requests
from db.cache_contents import Choice, Contents, contents, count, drop, expired, would_drop
from db.cache_drops import Dropped
from db.engine import Database
from db.tables import answers, cache_entries
from tests.support.audit import audit
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, answer_late, batch_of, states_of
from tests.support.replies import ANSWERED, PRICE_NANOS, REFUSED

DAY_MS = 86_400_000
TTL_MS = 30 * DAY_MS
BODY_BYTES = len(ANSWERED.body or b"")


def ask(database: Database, *keys: str | None, **options: Any) -> int:
    """A batch of these questions, answered; its row number."""
    worker = Worker(database)
    batch = add_batch(database, keys, **options)
    worker.answer(ANSWERED, *worker.take())
    return batch


def everything(database: Database, **which: Any) -> Choice:
    """Every entry there is now."""
    return Choice(made_by_ms=database.now_ms(), **which)


def rows_in(database: Database, table: Any) -> int:
    """How many rows a table has."""
    with database.read() as tx:
        return int(tx.rows(select(func.count()).select_from(table))[0][0])


def results_of(database: Database, batch: int) -> list[int | None]:
    """The status of every result that can be read."""
    return [row.status_code for row in requests.results(database, batch)]


def test_clean_up_drops_what_has_expired(database: Database, clock: FakeClock) -> None:
    """Expired entries go, others stay, and results of batches stay readable."""
    batch = ask(database, "old-1", "old-2")
    clock.advance(TTL_MS - 1)
    assert drop(database, expired(database.now_ms())) == Dropped()
    ask(database, "new")
    clock.advance(1)
    assert would_drop(database, expired(database.now_ms())) == Dropped(entries=2)
    assert rows_in(database, cache_entries) == 3
    assert drop(database, expired(database.now_ms())) == Dropped(entries=2)
    assert rows_in(database, cache_entries) == 1
    assert results_of(database, batch) == [200, 200]
    audit(database)


def test_answer_that_nothing_points_to_goes_with_its_entry(database: Database, clock: FakeClock) -> None:
    """An answer that came too late for its own line, and that nobody used: its bytes are free again."""
    answer_late(database, "late")
    ask(database, "pointed-to")
    before = rows_in(database, answers)
    clock.advance(TTL_MS)
    gone = Dropped(entries=2, answers=1, answer_bytes=BODY_BYTES)
    assert would_drop(database, expired(database.now_ms())) == gone
    assert drop(database, expired(database.now_ms())) == gone
    assert rows_in(database, answers) == before - 1
    audit(database)


def test_answer_that_was_used_again_stays(database: Database, clock: FakeClock) -> None:
    """The same late answer, once another line has used it: that line's result stays readable."""
    answer_late(database, "late")
    later = add_batch(database, ["late"])
    assert Worker(database).take() == []
    clock.advance(TTL_MS)
    assert drop(database, expired(database.now_ms())) == Dropped(entries=1)
    assert results_of(database, later) == [200]
    audit(database)


def test_answer_of_a_line_that_is_gone(database: Database, clock: FakeClock) -> None:
    """Where the line and its call have been deleted, nothing points to the answer but the entry."""
    batch = ask(database, "gone")
    with database.write() as tx:
        for table in ("requests WHERE batch_id", "attempts WHERE id > 0 AND request_id / 4294967296"):
            tx.run(text(f"DELETE FROM {table} = :batch"), batch=batch)
        tx.run(text("DELETE FROM batches WHERE id = :batch"), batch=batch)
    clock.advance(TTL_MS)
    assert drop(database, expired(database.now_ms())) == Dropped(
        entries=1, answers=1, answer_bytes=BODY_BYTES
    )


@pytest.mark.parametrize(
    ("which", "left"),
    [
        ({}, set()),
        ({"request_type": "spam"}, {"b", "c"}),
        ({"tenant": "acme"}, {"a", "c"}),
        ({"model": "gpt-4o-mini"}, set()),
        ({"model": "another"}, {"a", "b", "c"}),
        ({"tenant": "acme", "request_type": "spam"}, {"a", "b", "c"}),
    ],
)
def test_clear_takes_what_is_meant(database: Database, which: dict[str, str], left: set[str]) -> None:
    """By type, tenant and model, alone and together; all without any of them."""
    ask(database, "a", request_type="spam")
    ask(database, "b", tenant="acme")
    ask(database, "c")
    choice = everything(database, **which)
    assert count(database, choice) == 3 - len(left)
    assert drop(database, choice).entries == 3 - len(left)
    with database.read() as tx:
        assert {row.cache_key for row in tx.rows(select(cache_entries.c.cache_key))} == left


def test_clear_what_is_older(database: Database, clock: FakeClock) -> None:
    """Only what was made before that time; what is asked for anew counts from then."""
    ask(database, "old")
    clock.advance(7 * DAY_MS)
    ask(database, "new")
    assert drop(database, Choice(made_by_ms=clock.now_ms() - 7 * DAY_MS)).entries == 1
    worker = Worker(database)
    add_batch(database, ["old", "new"])
    assert len(worker.take()) == 1


def test_many_entries_go_in_steps(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, each is dropped once, also where all expire at the same moment."""
    monkeypatch.setattr("db.cache_drops.ENTRIES_A_STEP", 7)
    ask(database, *(f"key-{nth}" for nth in range(40)))
    assert drop(database, everything(database)).entries == 40
    assert rows_in(database, cache_entries) == 0
    audit(database)


def test_cleared_while_the_question_is_being_asked(database: Database) -> None:
    """A flight knows nothing of the cache: whoever waits for it is answered all the same."""
    ask(database, "other")
    worker = Worker(database)
    batch = add_batch(database, ["same", "same"])
    leaders = worker.take()
    assert drop(database, everything(database)).entries == 1
    worker.answer(ANSWERED, *leaders)
    assert states_of(database, batch) == [RequestState.DONE] * 2
    audit(database)


def test_what_the_cache_was_good_for(database: Database, clock: FakeClock) -> None:
    """By type: entries, bytes, hits among requests, and what the reused answers had cost."""
    ask(database, "a", "b", request_type="spam")
    ask(database, "a", "a", "b", "c", request_type="spam")
    ask(database, "a", "d", request_type="ham")
    assert contents(database, 0) == {
        "ham": Contents(
            live=1,
            answer_bytes=BODY_BYTES,
            hits=1,
            requests=2,
            saved_nanos=PRICE_NANOS,
            calls=1,
            cost_nanos=PRICE_NANOS,
        ),
        "spam": Contents(
            live=3,
            answer_bytes=3 * BODY_BYTES,
            uses=4,
            hits=3,
            requests=6,
            saved_nanos=3 * PRICE_NANOS,
            calls=3,
            cost_nanos=3 * PRICE_NANOS,
        ),
    }
    clock.advance(TTL_MS)
    ask(database, "e", request_type="ham")
    assert contents(database, clock.now_ms()) == {
        "ham": Contents(
            live=1, expired=1, answer_bytes=2 * BODY_BYTES, requests=1, calls=1, cost_nanos=PRICE_NANOS
        ),
        "spam": Contents(expired=3, answer_bytes=3 * BODY_BYTES, uses=4),
    }


def test_remembered_refusals_are_contents_too(database: Database) -> None:
    """A refusal that answers again is a hit that saved nothing."""
    worker = Worker(database)
    add_batch(database, ["bad", "bad"])
    worker.answer(REFUSED, *worker.take())
    (found,) = contents(database, 0).values()
    assert (found.live, found.hits, found.saved_nanos) == (1, 1, 0)
    assert (found.calls, found.failed_calls) == (1, 1)


def test_nothing_in_it(database: Database) -> None:
    """An empty cache."""
    assert contents(database, 0) == {}
    assert drop(database, everything(database)) == would_drop(database, everything(database)) == Dropped()


def test_batch_is_not_touched(database: Database) -> None:
    """Clearing changes no counter and no ledger entry of any batch."""
    batch = ask(database, "a", "a")
    before = batch_of(database, batch)
    drop(database, everything(database))
    assert batch_of(database, batch) == before
    audit(database)
