"""A request's own type goes before its batch's, wherever its answer comes from."""

from sqlalchemy import select

from db.engine import Database
from db.tables import cache_entries, ledger
from tests.support.hands import Worker, add_batch
from tests.support.replies import ANSWERED


def _answer_all(worker: Worker) -> None:
    worker.answer(ANSWERED, *worker.take())


def _types(database: Database) -> list[tuple[str, str]]:
    """Kind and type of every ledger entry, in the order in which they were made."""
    with database.read() as tx:
        rows = tx.rows(select(ledger.c.kind, ledger.c.request_type).order_by(ledger.c.request_id))
    return [(row.kind, row.request_type) for row in rows]


def test_calls_and_followers_are_entered_under_their_own_type(database: Database) -> None:
    """Leader and followers ask the same under different types: each ledger entry carries its own."""
    add_batch(database, ["same", "same", "same"], types=["quiz", "drill"], request_type="lesson")
    _answer_all(Worker(database))
    assert _types(database) == [("call", "quiz"), ("hit", "drill"), ("hit", "lesson")]
    with database.read() as tx:
        assert [row.request_type for row in tx.rows(select(cache_entries))] == ["quiz"]


def test_hits_are_entered_under_their_own_type(database: Database) -> None:
    """What the cache answers is entered under the type of who asked, not of who asked first."""
    add_batch(database, ["same"], request_type="lesson")
    _answer_all(Worker(database))
    add_batch(database, ["same", "same"], types=["", "drill"], request_type="quiz")
    _answer_all(Worker(database))
    assert _types(database) == [("call", "lesson"), ("hit", "quiz"), ("hit", "drill")]
