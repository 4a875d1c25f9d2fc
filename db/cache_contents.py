"""The cache's contents: counted, cleaned up and cleared."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, case, false, func, select, text, true, tuple_

from db.bulk import INT
from db.cache_drops import FACTS, Dropped, Pace, drop_step, weigh
from db.engine import Database
from db.ledger import CALL, HIT
from db.tables import answers, attempts, cache_entries, ledger, requests

TURNS = 20
TURN_S = 0.05
"""An entry that is being used right now is left alone, and tried again that often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which entries are meant.

    Attributes:
        made_by_ms: Only those made up to then: what comes while we are at it is not meant.
        expired_by_ms: Only those that expire up to then; None = also those that live.
        request_type: Only of this type; None = of any.
        is_verified_too: Also those that somebody has verified.
    """

    made_by_ms: int
    expired_by_ms: int | None = None
    request_type: str | None = None
    tenant: str | None = None
    model: str | None = None
    is_verified_too: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What the cache holds of one request type, and what it was good for.

    Attributes:
        live: Entries that may answer.
        expired: Entries whose time is over, and that the next clean-up drops.
        verified: The part of both that somebody has verified.
        answer_bytes: The size of the answers that the entries point to.
        uses: How often these entries have answered so far.
        hits: Requests answered without a call in the period asked for.
        requests: All requests in the ledger of that period.
        saved_nanos: What the calls had cost whose answers were the hits, as far as that is known.
        calls: Calls that ended in that period.
        failed_calls: The part of them that brought no answer.
        latency_ms: How long these calls took together.
        cost_nanos: What they cost together, as far as that is known.
    """

    live: int = 0
    expired: int = 0
    verified: int = 0
    answer_bytes: int = 0
    uses: int = 0
    hits: int = 0
    requests: int = 0
    saved_nanos: int = 0
    calls: int = 0
    failed_calls: int = 0
    latency_ms: int = 0
    cost_nanos: int = 0


def expired(now_ms: int) -> Choice:
    """Entries whose time is over. What somebody has verified is kept beyond it, though it answers no more."""
    return Choice(made_by_ms=now_ms, expired_by_ms=now_ms, is_verified_too=False)


def _is_chosen(choice: Choice) -> ColumnElement[bool]:
    """Which entries are meant, as far as their own rows say."""
    conditions = [cache_entries.c.created_ms <= choice.made_by_ms]
    if choice.expired_by_ms is not None:
        conditions.append(cache_entries.c.expires_ms <= choice.expired_by_ms)
    if choice.request_type is not None:
        conditions.append(cache_entries.c.request_type == choice.request_type)
    if choice.tenant is not None:
        conditions.append(cache_entries.c.tenant == choice.tenant)
    if not choice.is_verified_too:
        conditions.append(cache_entries.c.verified == false())
    return and_(true(), *conditions)


def _chosen(choice: Choice, *columns: Any) -> Any:
    query = select(*columns).select_from(cache_entries).where(_is_chosen(choice))
    if choice.model is not None:
        query = query.join(answers, answers.c.id == cache_entries.c.answer_id).where(
            answers.c.model == choice.model
        )
    return query


def count(database: Database, choice: Choice) -> int:
    """How many entries are meant."""
    with database.snapshot() as tx:
        return int(tx.rows(_chosen(choice, func.count()))[0][0])


def would_drop(database: Database, choice: Choice) -> Dropped:
    """What `drop` would do now."""
    found = Dropped()
    for page in _pages(database, choice, Pace()):
        with database.read() as tx:
            found += weigh(tx, page).dropped
    return found


def drop(
    database: Database,
    choice: Choice,
    pace: Pace | None = None,
    tell: Callable[[Dropped], None] = lambda dropped: None,
) -> Dropped:
    """Drop entries, and with each its answer if nothing else points to it; in short transactions.

    Args:
        pace: Keeps these apart.
        tell: Called between them with what has gone so far; what it raises ends this.
    """
    dropped, pace = Dropped(), pace or Pace()
    for page in _pages(database, choice, pace):
        keys: Sequence[str] = [row.cache_key for row in page]
        for _ in range(TURNS):
            with pace:
                step = drop_step(database, keys, _is_chosen(choice))
            dropped, keys = dropped + step.dropped, step.used
            tell(dropped)
            if not keys:
                break
            pace.pause(TURN_S)
    return dropped


def _pages(database: Database, choice: Choice, pace: Pace) -> Iterator[Sequence[Any]]:
    """The entries that are meant, some at a time; expired ones by their index."""
    order = tuple_(cache_entries.c.expires_ms, cache_entries.c.cache_key)
    page = _chosen(choice, *FACTS)
    page = page.where(order > tuple_(bindparam("expires_ms"), bindparam("after"))).order_by(*order.clauses)
    expires_ms, after = -1, ""
    while True:
        with database.read() as tx:
            found = tx.rows(page.limit(pace.size), expires_ms=expires_ms, after=after)
        if not found:
            return
        expires_ms, after = found[-1].expires_ms, found[-1].cache_key
        yield found


def contents(database: Database, since_ms: int) -> dict[str, Contents]:
    """What the cache holds and has been good for since then, by request type; flat memory."""
    with database.snapshot() as tx:
        if tx.dialect == "postgresql":
            tx.run(_READ_IT_ALL)
        found = [*tx.rows(_held, now_ms=tx.now_ms), *tx.rows(_used, since_ms=since_ms)]
    sums: dict[str, dict[str, int]] = {}
    for row in found:
        ours = sums.setdefault(row.request_type, {})
        ours |= {name: int(value or 0) for name, value in row._mapping.items() if name != "request_type"}
    return {name: Contents(**sums[name]) for name in sorted(sums)}


# Of everything that there is, so not by keys: see `db.drivers`.
_READ_IT_ALL = text("SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on")
_is_live = cache_entries.c.expires_ms > bindparam("now_ms", type_=INT)
_held = select(
    cache_entries.c.request_type,
    func.count(case((_is_live, 1))).label("live"),
    func.count(case((~_is_live, 1))).label("expired"),
    func.count(case((cache_entries.c.verified, 1))).label("verified"),
    func.sum(cache_entries.c.answer_bytes).label("answer_bytes"),
    func.sum(cache_entries.c.usage_count).label("uses"),
).group_by(cache_entries.c.request_type)
_is_hit, _is_call = ledger.c.kind == HIT, ledger.c.kind == CALL
_used = (
    select(
        ledger.c.request_type,
        func.count(case((_is_hit, 1))).label("hits"),
        func.count(ledger.c.request_id.distinct()).label("requests"),
        func.sum(attempts.c.cost_nanos).label("saved_nanos"),
        func.count(case((_is_call, 1))).label("calls"),
        func.count(case((and_(_is_call, ledger.c.success == false()), 1))).label("failed_calls"),
        func.sum(ledger.c.latency_ms).label("latency_ms"),
        func.sum(ledger.c.cost_nanos).label("cost_nanos"),
    )
    .join_from(ledger, requests, and_(_is_hit, requests.c.id == ledger.c.request_id), isouter=True)
    .join(attempts, attempts.c.id == requests.c.answer_id, isouter=True)
    .where(ledger.c.at_ms >= bindparam("since_ms", type_=INT))
    .group_by(ledger.c.request_type)
)
