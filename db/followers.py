"""Followers: the requests that wait for another's answer, answered where they are.

There may be as many as a batch has lines, so their rows never come here: the database moves them, writes their
ledger entries and counts them in one go.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, any_, func, select, update

from batchmill.requests.model import RequestState
from db import ledger
from db.bulk import INT, STR, rows_of
from db.engine import Transaction
from db.prepared import Prepared
from db.tables import batches, requests, word

_columns = {"cache_key": STR, "state": STR, "answer_id": INT, "provider": STR, "model": STR}


def _is_follower(given: Any) -> Any:
    return and_(requests.c.cache_key == given.c.cache_key, requests.c.state == word(RequestState.WAITING))


def _answer(given: Any) -> Any:
    return (
        update(requests).where(_is_follower(given)).values(state=given.c.state, answer_id=given.c.answer_id)
    )


def _all_at_once(dialect: str) -> Any:
    """Answer, enter and count in one statement (PostgreSQL): who is answered here cannot be cancelled in between."""
    given = rows_of(dialect, _columns)
    asked = select(rows_of(dialect, _columns).alias("keys").c.cache_key).scalar_subquery()
    moved = (
        _answer(given)
        # Says nothing new, but lets the planner look the keys up however few it believes to wait.
        .where(requests.c.cache_key == any_(func.array(asked)))
        .returning(
            requests.c.id,
            requests.c.batch_id,
            requests.c.request_type,
            requests.c.is_auto,
            given.c.cache_key,
            given.c.state,
            given.c.provider,
            given.c.model,
        )
        .cte("moved")
    )
    entered = ledger.enter_hits(
        moved.c, lambda values: select(*values).join_from(moved, batches, batches.c.id == moved.c.batch_id)
    ).cte("entered")
    keys = (moved.c.batch_id, moved.c.cache_key, moved.c.state)
    return select(*keys, func.count().label("times")).group_by(*keys).add_cte(entered)


class _Answered:
    """The columns of an answer on its way to a follower, before it is moved."""

    def __init__(self, given: Any) -> None:
        self.id, self.batch_id = requests.c.id, requests.c.batch_id
        self.request_type, self.is_auto = requests.c.request_type, requests.c.is_auto
        self.state, self.provider, self.model = given.c.state, given.c.provider, given.c.model


def _enter_first(dialect: str) -> Any:
    given = rows_of(dialect, _columns)
    return ledger.enter_hits(
        _Answered(given),
        lambda values: (
            select(*values)
            .join_from(given, requests, _is_follower(given))
            .join(batches, batches.c.id == requests.c.batch_id)
        ),
    )


def _count(dialect: str) -> Any:
    given = rows_of(dialect, _columns)
    keys = (requests.c.batch_id, given.c.cache_key, given.c.state)
    counted = select(*keys, func.count().label("times")).join_from(given, requests, _is_follower(given))
    return counted.group_by(*keys)


_one_by_one = [
    Prepared(_enter_first),
    Prepared(_count),
    Prepared(lambda dialect: _answer(rows_of(dialect, _columns))),
]
_in_one = Prepared(_all_at_once)


def answer(tx: Transaction, answers: Sequence[dict[str, Any]]) -> Sequence[Any]:
    """Answer all who wait for these keys; rows of (batch_id, cache_key, state, times). The keys' flights are locked.

    Args:
        answers: `cache_key, state, answer_id, provider, model`.
    """
    if tx.dialect == "postgresql":
        return tx.bulk_rows(_in_one, answers, at_ms=tx.now_ms)
    enter, count, move = _one_by_one
    found = tx.bulk_rows(count, answers)
    if found:
        tx.set_wise(enter, answers, at_ms=tx.now_ms)
        tx.set_wise(move, answers)
    return found
