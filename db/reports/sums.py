"""What the ledger says of a period: the only place at which reports read it.

Each is one pass over the entries of its period by the index on `ledger.at_ms`, added up in the database: what comes
back is bounded, however many entries, users or models there are. Corrections that came later have an index of their
own.
"""

from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, and_, case, desc, func, literal, or_, select

from batchmill.reports.model import (
    SUMS,
    CacheUse,
    Dimension,
    Failure,
    Latency,
    Ranking,
    Share,
    Spend,
)
from batchmill.reports.period import Span
from batchmill.requests.judge import NOT_KNOWN
from db.engine import Transaction
from db.ledger import CALL, HIT, IS_CORRECTION
from db.tables import attempts, ledger, requests

MOST_SHARES = 10
MOST_TYPES = 20
MOST_FAILURES = 10
_NAMES: dict[Dimension, ColumnElement[str]] = {
    Dimension.MODEL: ledger.c.provider + "/" + ledger.c.model,
    Dimension.TENANT: ledger.c.tenant,
    Dimension.USER: case((ledger.c.user_id == "", ""), else_=ledger.c.tenant + "/" + ledger.c.user_id),
    Dimension.ENDPOINT: ledger.c.endpoint,
    Dimension.TYPE: ledger.c.request_type,
}
_is_call, _is_hit = ledger.c.kind == CALL, ledger.c.kind == HIT
_is_unknown = ledger.c.cost_reason == NOT_KNOWN.reason


def first_ms(tx: Transaction) -> int | None:
    """When the first entry was made; None while there is none."""
    found: int | None = tx.rows(select(func.min(ledger.c.at_ms).label("ms")))[0].ms
    return found


def spend_of(tx: Transaction, span: Span) -> Spend:
    """What a period comes to."""
    return _spend(tx.rows(select(*_sums(span.start_ms)).where(_within(span)))[0])


def ranking_of(tx: Transaction, dimension: Dimension, span: Span, before: Span) -> Ranking:
    """Who had most of a period, and whose cost has changed most since the one before it."""
    is_now = ledger.c.at_ms >= span.start_ms
    cost_before = func.coalesce(func.sum(case((~is_now, ledger.c.cost_nanos))), 0).label("before_nanos")
    grouped = (
        select(_NAMES[dimension].label("name"), *_sums(span.start_ms, is_now), cost_before)
        .where(or_(_within(span), _within(before)))
        .where(ledger.c.at_ms >= min(span.start_ms, before.start_ms), ledger.c.at_ms < span.end_ms)
        .group_by("name")
        .cte("grouped")
    )
    wanted = _ranked(grouped)
    shares, movers, names = [], [], 0
    for row in tx.rows(wanted):
        share = Share(name=row.name, spend=_spend(row), before_nanos=int(row.before_nanos))
        names = int(row.names)
        if row.by_cost <= MOST_SHARES and not share.spend.is_quiet:
            shares.append((row.by_cost, share))
        if row.by_change <= MOST_SHARES and share.spend.cost_nanos != share.before_nanos:
            movers.append((row.by_change, share))
    return Ranking(
        dimension=dimension,
        shares=tuple(share for _, share in sorted(shares, key=lambda one: one[0])),
        movers=tuple(share for _, share in sorted(movers, key=lambda one: one[0])),
        names=names,
    )


def _ranked(grouped: CTE) -> Select[Any]:
    # A correction may be all there is of somebody: of a call of the day before.
    is_used = or_(grouped.c.calls > 0, grouped.c.hits > 0, grouped.c.cost_nanos != 0)
    by_cost = [desc(case((is_used, 1), else_=0)), grouped.c.cost_nanos.desc(), grouped.c.calls.desc()]
    change = func.abs(grouped.c.cost_nanos - grouped.c.before_nanos)
    ranked = select(
        grouped,
        func.row_number().over(order_by=[*by_cost, grouped.c.name]).label("by_cost"),
        func.row_number().over(order_by=[change.desc(), grouped.c.name]).label("by_change"),
        func.sum(case((is_used, 1), else_=0)).over().label("names"),
    ).subquery("ranked")
    return select(ranked).where(or_(ranked.c.by_cost <= MOST_SHARES, ranked.c.by_change <= MOST_SHARES))


def failures_of(tx: Transaction, span: Span, before: Span) -> list[Failure]:
    """Calls that brought no answer, by reason, the most frequent first; what was none in the period is left out."""
    is_now = ledger.c.at_ms >= span.start_ms
    calls = func.count(case((is_now, 1))).label("calls")
    found = (
        select(ledger.c.error, calls, func.count(case((~is_now, 1))).label("before"))
        .where(or_(_within(span), _within(before)), _is_call, ~ledger.c.success)
        .where(ledger.c.at_ms >= min(span.start_ms, before.start_ms), ledger.c.at_ms < span.end_ms)
        .group_by(ledger.c.error)
        .having(calls > 0)
        .order_by(calls.desc(), ledger.c.error)
        .limit(MOST_FAILURES)
    )
    return [Failure(code=row.error, calls=row.calls, before=row.before) for row in tx.rows(found)]


def latency_of(tx: Transaction, span: Span) -> Latency | None:
    """How long the answered calls took; None when there were none.

    Exactly, by nearest rank: calls are counted by their milliseconds, of which there are as many different ones as a
    call may last at most, and the counts added up.
    """
    timed = (
        select(ledger.c.latency_ms, func.count().label("calls"))
        .where(_within(span), _is_call, ledger.c.success)
        .group_by(ledger.c.latency_ms)
        .cte("timed")
    )
    upto = select(
        timed.c.latency_ms,
        func.sum(timed.c.calls).over(order_by=timed.c.latency_ms).label("upto"),
        func.sum(timed.c.calls).over().label("calls"),
    ).cte("upto")
    ranks = {
        f"p{percent}_ms": func.min(case((upto.c.upto * 100 >= upto.c.calls * percent, upto.c.latency_ms)))
        for percent in (50, 95, 99)
    }
    named = [rank.label(name) for name, rank in ranks.items()]
    (row,) = tx.rows(select(func.max(upto.c.calls).label("calls"), *named))
    if not row.calls:
        return None
    return Latency(calls=int(row.calls), **{name: int(getattr(row, name)) for name in ranks})


def cache_of(tx: Transaction, span: Span) -> tuple[CacheUse, list[CacheUse]]:
    """What the cache was good for: altogether, and by type of request, those with most requests first."""
    grouped = (
        select(
            ledger.c.request_type.label("name"),
            func.count(ledger.c.request_id.distinct()).label("requests"),
            func.count(case((_is_hit, 1))).label("hits"),
            func.coalesce(func.sum(attempts.c.cost_nanos), 0).label("saved_nanos"),
        )
        .join_from(ledger, requests, and_(_is_hit, requests.c.id == ledger.c.request_id), isouter=True)
        .join(attempts, attempts.c.id == requests.c.answer_id, isouter=True)
        .where(_within(span), or_(_is_call, _is_hit))
        .group_by(ledger.c.request_type)
        .cte("grouped")
    )
    totals = [
        func.sum(grouped.c[name]).over().label(f"all_{name}") for name in ("requests", "hits", "saved_nanos")
    ]
    order = [grouped.c.requests.desc(), grouped.c.name]
    found = tx.rows(select(grouped, *totals).order_by(*order).limit(MOST_TYPES))
    if not found:
        return CacheUse(), []
    return _use(found[0], "", "all_"), [_use(row, row.name) for row in found]


def _use(row: Any, name: str, prefix: str = "") -> CacheUse:
    counts = {column: int(getattr(row, prefix + column)) for column in ("requests", "hits", "saved_nanos")}
    return CacheUse(name=name, **counts)


def _within(span: Span) -> ColumnElement[bool]:
    return and_(ledger.c.at_ms >= span.start_ms, ledger.c.at_ms < span.end_ms)


def _sums(since_ms: int, counts: ColumnElement[bool] | None = None) -> list[Any]:
    """The columns of `Spend`, of the entries of which `counts` is true."""
    # A correction may come after the period, but never before it.
    corrected = select(ledger.c.attempt_id).where(
        IS_CORRECTION, ledger.c.attempt_id.is_not(None), ledger.c.at_ms >= since_ms
    )
    is_meant = literal(True) if counts is None else counts
    counted = {
        "calls": _is_call,
        "hits": _is_hit,
        "failed": and_(_is_call, ~ledger.c.success),
        "unknown": and_(_is_call, _is_unknown, ledger.c.attempt_id.not_in(corrected)),
        "unpriced": and_(ledger.c.cost_nanos.is_(None), ~_is_unknown),
    }
    added = ("cost_nanos", "input_tokens", "output_tokens")
    return [
        *(
            func.count(case((and_(is_meant, condition), 1))).label(name)
            for name, condition in counted.items()
        ),
        *(func.coalesce(func.sum(case((is_meant, ledger.c[name]))), 0).label(name) for name in added),
    ]


def _spend(row: Any) -> Spend:
    return Spend(**{name: int(getattr(row, name)) for name in SUMS})
