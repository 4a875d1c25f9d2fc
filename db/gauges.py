"""Gauges: how much there is to do, is being done, and was spent, each read in one cheap query.

Nothing here walks through what has ended, the first look at a day's ledger aside: open batches, claims and unknown
calls have indexes of their own.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import Select, and_, case, func, select

from batchmill.requests.model import AttemptState
from db.bulk import INT, STR, rows_of
from db.engine import Transaction
from db.ledger import CALL, HIT
from db.prepared import Prepared
from db.tables import attempts, batches, claims, files, ledger, requests, webhooks, word
from db.tables import cache_entries as cache_entries_table

_b = batches.c
_open = (
    select(
        _b.lane,
        _b.state,
        func.count(case((~_b.is_direct, 1))).label("batches"),
        func.sum(_b.total - _b.done - _b.failed - _b.cancelled - _b.expired).label("requests"),
    )
    .where(_b.ended_ms.is_(None))
    .group_by(_b.lane, _b.state)
    .order_by(_b.lane, _b.state)
)
_held = select(claims.c.id, claims.c.request_ids, _b.lane).join_from(
    claims, batches, _b.id == claims.c.batch_id
)


def _called(dialect: str) -> Select[tuple[str, int]]:
    given = rows_of(dialect, {"id": INT, "claim": INT, "lane": STR})
    is_its = and_(attempts.c.request_id == given.c.id, attempts.c.claim_id == given.c.claim)
    return (
        select(given.c.lane, func.count().label("calls"))
        .join_from(given, attempts, is_its)
        .where(attempts.c.state == word(AttemptState.SENT))
        .group_by(given.c.lane)
    )


_out = Prepared(_called)
_unknown = select(func.count()).where(attempts.c.state == word(AttemptState.UNKNOWN))
_cached = select(func.count()).select_from(cache_entries_table)
_saved = (
    select(
        ledger.c.provider,
        ledger.c.model,
        func.coalesce(func.sum(attempts.c.cost_nanos), 0).label("saved_nanos"),
    )
    .join_from(ledger, requests, requests.c.id == ledger.c.request_id)
    .join(attempts, attempts.c.id == requests.c.answer_id)
    .where(ledger.c.kind == HIT)
    .group_by(ledger.c.provider, ledger.c.model)
)
_kept = select(func.count(), func.coalesce(func.sum(files.c.bytes), 0)).select_from(files)
_owed = select(func.count()).select_from(webhooks).where(webhooks.c.state == "pending")


def open_batches(tx: Transaction) -> Sequence[Any]:
    """What has not ended: rows of (lane, state, batches, requests); the requests are those without an answer.

    Single requests that their callers wait for are no batches to anybody, but their requests count.
    """
    return tx.rows(_open)


def in_flight(tx: Transaction) -> dict[str, int]:
    """By lane: the calls that are out, of all that workers hold."""
    table = [
        {"id": id_, "claim": row.id, "lane": row.lane}
        for row in tx.rows(_held)
        for id_ in orjson.loads(row.request_ids)
    ]
    return {row.lane: int(row.calls) for row in tx.bulk_rows(_out, table)}


def cache_entries(tx: Transaction) -> int:
    """How many entries the cache has, expired ones included."""
    return int(tx.rows(_cached)[0][0])


def saved(tx: Transaction, since_ms: int, until_ms: int | None = None) -> Sequence[Any]:
    """What answers without a call had cost when they were first given, of a period of the ledger: rows of (provider,
    model, saved_nanos)."""
    query = _saved.where(ledger.c.at_ms >= since_ms)
    return tx.rows(query if until_ms is None else query.where(ledger.c.at_ms < until_ms))


def unknown_attempts(tx: Transaction) -> int:
    """Calls of which nobody knows whether they were billed."""
    return int(tx.rows(_unknown)[0][0])


def kept_files(tx: Transaction) -> tuple[int, int]:
    """How many files there are, and how large they are together."""
    count, size = tx.rows(_kept)[0]
    return int(count), int(size)


def owed_webhooks(tx: Transaction) -> int:
    """Batches whose producers have not been told yet how they ended."""
    return int(tx.rows(_owed)[0][0])


def used(tx: Transaction, since_ms: int, until_ms: int | None = None) -> Sequence[Any]:
    """What the ledger has of a period: rows of (provider, model, calls, failed, hits, input_tokens, output_tokens,
    cost_nanos).

    Args:
        until_ms: The first moment that is too late; None = to the end.
    """
    is_call = ledger.c.kind == CALL
    query = (
        select(
            ledger.c.provider,
            ledger.c.model,
            func.count(case((is_call, 1))).label("calls"),
            func.count(case((is_call & ~ledger.c.success, 1))).label("failed"),
            func.count(case((ledger.c.kind == HIT, 1))).label("hits"),
            func.coalesce(func.sum(ledger.c.input_tokens), 0).label("input_tokens"),
            func.coalesce(func.sum(ledger.c.output_tokens), 0).label("output_tokens"),
            func.coalesce(func.sum(ledger.c.cost_nanos), 0).label("cost_nanos"),
        )
        .where(ledger.c.at_ms >= since_ms)
        .group_by(ledger.c.provider, ledger.c.model)
        .order_by(ledger.c.provider, ledger.c.model)
    )
    return tx.rows(query if until_ms is None else query.where(ledger.c.at_ms < until_ms))
