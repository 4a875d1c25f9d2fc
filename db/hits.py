"""Hits: fresh requests that the cache answers, answered where they are.

A batch may be nothing but questions answered before, so their rows never come here: the database moves them, writes
their ledger entries and counts them in one go. They need no claim, as whoever has locked their batch is the only one
to touch requests past its cursor; and they lead no flight and follow none, as nobody has looked them up yet.
"""

from collections import Counter
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, func, select, update

from batchmill.requests.model import RequestState
from db import ledger
from db.bulk import INT
from db.engine import Transaction
from db.prepared import Prepared
from db.tables import answers, batches, cache_entries, requests, word

_in_range = requests.c.id.between(bindparam("first"), bindparam("last"))
_is_pending = and_(_in_range, requests.c.state == word(RequestState.PENDING))
_entry_stands = and_(
    cache_entries.c.cache_key == requests.c.cache_key,
    cache_entries.c.expires_ms > bindparam("at_ms", type_=INT),
    cache_entries.c.created_ms >= bindparam("since_ms"),
)
_its_answer = answers.c.id == cache_entries.c.answer_id
_state: ColumnElement[str] = case(
    (answers.c.status_code < 400, word(RequestState.DONE)), else_=word(RequestState.FAILED)
)


def _count_uses(answered: Any) -> Any:
    """Count how often each entry has answered; `answered` selects the cache key of every request."""
    uses = select(answered.c.cache_key, func.count().label("times")).group_by(answered.c.cache_key).subquery()
    return (
        update(cache_entries)
        .where(cache_entries.c.cache_key == uses.c.cache_key)
        .values(
            usage_count=cache_entries.c.usage_count + uses.c.times,
            last_used_ms=bindparam("at_ms", type_=INT),
        )
    )


def _all_at_once() -> Any:
    """Answer, enter and count in one statement (PostgreSQL).

    A settlement locks entries and then batches, and here it is the other way round. So this waits for no entry:
    what another has locked is left to the look-up. What is found stays locked until it has been counted, so that
    nobody drops it meanwhile (see `db.cache_contents`).
    """
    found = (
        select(
            requests.c.id,
            requests.c.cache_key,
            cache_entries.c.answer_id,
            _state.label("state"),
            answers.c.provider,
            answers.c.model,
        )
        .join_from(requests, cache_entries, _entry_stands)
        .join(answers, _its_answer)
        .where(_is_pending)
        .with_for_update(of=cache_entries, skip_locked=True)
        .cte("found")
    )
    moved = (
        update(requests)
        .where(requests.c.id == found.c.id, requests.c.state == word(RequestState.PENDING))
        .values(state=found.c.state, answer_id=found.c.answer_id)
        .returning(
            requests.c.id,
            requests.c.batch_id,
            requests.c.request_type,
            requests.c.is_auto,
            *(found.c[name] for name in ("cache_key", "state", "provider", "model")),
        )
        .cte("moved")
    )
    entered = ledger.enter_hits(
        moved.c, lambda values: select(*values).join_from(moved, batches, batches.c.id == moved.c.batch_id)
    )
    counted = select(moved.c.state, func.count().label("times")).group_by(moved.c.state)
    return counted.add_cte(entered.cte("entered"), _count_uses(moved).cte("used"))


_in_one = Prepared(_all_at_once())

# One after the other (SQLite). Nobody has claimed these requests yet: those that have an answer were given it here.
_move = Prepared(
    update(requests)
    .where(_is_pending, _entry_stands, _its_answer)
    .values(state=_state, answer_id=cache_entries.c.answer_id)
)
_is_answered = and_(_in_range, requests.c.state.in_([word(RequestState.DONE), word(RequestState.FAILED)]))


class _Answered:
    """The columns of a request that has been answered."""

    id, batch_id = requests.c.id, requests.c.batch_id
    request_type, is_auto = requests.c.request_type, requests.c.is_auto
    state, provider, model = requests.c.state, answers.c.provider, answers.c.model


_enter = Prepared(
    ledger.enter_hits(
        _Answered,
        lambda values: (
            select(*values)
            .join_from(requests, answers, answers.c.id == requests.c.answer_id)
            .join(batches, batches.c.id == requests.c.batch_id)
            .where(_is_answered)
        ),
    )
)
_use = Prepared(_count_uses(select(requests.c.cache_key).where(_is_answered).subquery()))
_count = Prepared(
    select(requests.c.state, func.count().label("times")).where(_is_answered).group_by(requests.c.state)
)


def answer(tx: Transaction, *, first: int, last: int, since_ms: int) -> Counter[str]:
    """Answer those requests in a range past their batch's cursor that the cache has an answer for; how many, by state.

    The batch is locked, and its counters are still to be changed.

    Args:
        since_ms: An entry made earlier does not count.
    """
    range_ = {"first": first, "last": last}
    if tx.dialect == "postgresql":
        return _by_state(tx.rows(_in_one, **range_, at_ms=tx.now_ms, since_ms=since_ms))
    if not tx.run(_move, **range_, at_ms=tx.now_ms, since_ms=since_ms):
        return Counter()
    tx.run(_enter, **range_, at_ms=tx.now_ms)
    tx.run(_use, **range_, at_ms=tx.now_ms)
    return _by_state(tx.rows(_count, **range_))


def _by_state(rows: Any) -> Counter[str]:
    return Counter({row.state: row.times for row in rows})
