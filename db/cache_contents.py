"""The cache's contents: counted, cleaned up and cleared beside running workers, in short steps.

An answer is deleted only with its entry, and only when nothing else points to it. What could:

- the request whose call brought it, found by the answer's number, which is that call's;
- requests that it answered as a hit: each was counted on its entry (`usage_count`), in the transaction that
  pointed it there. That count is also the guard against a look-up that runs at the same time: it fails, and the
  look-up is made again, when the entry it found stands no more (`db.cache.used`). A claim that answers lines
  itself holds the locks of their entries until then (`db.hits`);
- a mark (`db.marks`), whose line may be gone. The answers are locked before it is looked for, as a mark locks them.

So nothing is searched, and no index is needed. The price: an answer that was used again stays, when its entry
goes, for as long as any of its lines; whoever deletes lines has to look after it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    select,
    true,
    tuple_,
)

from db.engine import Database, Transaction
from db.ledger import HIT
from db.marks import marked
from db.tables import answers, attempts, cache_entries, ledger, marks, requests

ENTRIES_A_STEP = 500
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
    """

    made_by_ms: int
    expired_by_ms: int | None = None
    request_type: str | None = None
    tenant: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What went, or would go.

    Attributes:
        entries: Entries of the cache; their questions are asked anew when they come.
        answers: Answers that nothing pointed to any more.
        answer_bytes: The size of these.
    """

    entries: int = 0
    answers: int = 0
    answer_bytes: int = 0

    def __add__(self, other: "Dropped") -> "Dropped":
        return Dropped(
            entries=self.entries + other.entries,
            answers=self.answers + other.answers,
            answer_bytes=self.answer_bytes + other.answer_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What the cache holds of one request type, and what it was good for.

    Attributes:
        live: Entries that may answer.
        expired: Entries whose time is over, and that the next clean-up drops.
        answer_bytes: The size of the answers that the entries point to.
        hits: Requests answered without a call in the period asked for.
        requests: All requests in the ledger of that period.
        saved_nanos: What the calls had cost whose answers were the hits, as far as that is known.
    """

    live: int = 0
    expired: int = 0
    answer_bytes: int = 0
    hits: int = 0
    requests: int = 0
    saved_nanos: int = 0


def _bytes_of(body: ColumnElement[Any], dialect: str) -> ColumnElement[int]:
    size = func.octet_length(body) if dialect == "postgresql" else func.length(cast(body, LargeBinary))
    return func.coalesce(size, 0)


def _is_chosen(choice: Choice) -> ColumnElement[bool]:
    """Which entries are meant, as far as their own rows say."""
    conditions = [cache_entries.c.created_ms <= choice.made_by_ms]
    if choice.expired_by_ms is not None:
        conditions.append(cache_entries.c.expires_ms <= choice.expired_by_ms)
    if choice.request_type is not None:
        conditions.append(cache_entries.c.request_type == choice.request_type)
    if choice.tenant is not None:
        conditions.append(cache_entries.c.tenant == choice.tenant)
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
    own = requests.alias("own")
    with database.snapshot() as tx:
        doomed = answers.alias("doomed")
        is_free = and_(
            cache_entries.c.usage_count == 0,
            own.c.id.is_(None),
            marks.c.answer_id.is_(None),
            doomed.c.id.is_not(None),
        )
        query = (
            _chosen(
                choice,
                func.count().label("entries"),
                func.count(case((is_free, 1))).label("answers"),
                func.coalesce(func.sum(case((is_free, _bytes_of(doomed.c.body, tx.dialect)))), 0).label(
                    "size"
                ),
            )
            .join(doomed, doomed.c.id == cache_entries.c.answer_id, isouter=True)
            .join(marks, marks.c.answer_id == cache_entries.c.answer_id, isouter=True)
            .join(attempts, attempts.c.id == cache_entries.c.answer_id, isouter=True)
            .join(
                own, and_(own.c.id == attempts.c.request_id, own.c.answer_id == attempts.c.id), isouter=True
            )
        )
        (found,) = tx.rows(query)
    return Dropped(entries=found.entries, answers=found.answers, answer_bytes=int(found.size))


def drop(database: Database, choice: Choice, pause: Callable[[float], None] = time.sleep) -> Dropped:
    """Drop entries, and with each its answer if nothing else points to it; in short transactions."""
    dropped = Dropped()
    for keys in _pages(database, choice):
        for _ in range(TURNS):
            step, keys = database.persist(partial(_step, choice=choice, keys=keys))
            dropped += step
            if not keys:
                break
            pause(TURN_S)
    return dropped


def _pages(database: Database, choice: Choice) -> Iterator[list[str]]:
    """The keys of the entries that are meant, some at a time; expired ones by their index."""
    order = tuple_(cache_entries.c.expires_ms, cache_entries.c.cache_key)
    page = _chosen(choice, cache_entries.c.expires_ms, cache_entries.c.cache_key)
    page = page.where(order > tuple_(bindparam("expires_ms"), bindparam("after"))).order_by(*order.clauses)
    expires_ms, after = -1, ""
    while True:
        with database.read() as tx:
            found = tx.rows(page.limit(ENTRIES_A_STEP), expires_ms=expires_ms, after=after)
        if not found:
            return
        expires_ms, after = found[-1].expires_ms, found[-1].cache_key
        yield [row.cache_key for row in found]


def _step(tx: Transaction, *, choice: Choice, keys: list[str]) -> tuple[Dropped, list[str]]:
    """Drop those of these entries that are still meant; and the keys of those that somebody is using right now."""
    meant = and_(cache_entries.c.cache_key.in_(keys), _is_chosen(choice))
    locked = select(cache_entries.c.cache_key).where(meant).with_for_update(skip_locked=True)
    free = [row.cache_key for row in tx.rows(locked)]
    gone = tx.rows(
        delete(cache_entries)
        .where(cache_entries.c.cache_key.in_(free))
        .returning(cache_entries.c.answer_id, cache_entries.c.usage_count)
    )
    forgotten = _forget(tx, [row.answer_id for row in gone if row.usage_count == 0])
    left = tx.rows(select(cache_entries.c.cache_key).where(meant))
    return Dropped(entries=len(gone)) + forgotten, [row.cache_key for row in left]


def _forget(tx: Transaction, ids: Sequence[int]) -> Dropped:
    """Delete those of these answers that are neither their own request's nor marked. The entries' locks are held."""
    if tx.dialect != "sqlite":
        tx.rows(select(answers.c.id).where(answers.c.id.in_(ids)).order_by(answers.c.id).with_for_update())
    own = (
        select(attempts.c.id)
        .join(requests, and_(requests.c.id == attempts.c.request_id, requests.c.answer_id == attempts.c.id))
        .where(attempts.c.id.in_(ids))
    )
    needed = {row.id for row in tx.rows(own)} | marked(tx, ids)
    free = [id_ for id_ in ids if id_ not in needed]
    gone = tx.rows(
        delete(answers)
        .where(answers.c.id.in_(free))
        .returning(_bytes_of(answers.c.body, tx.dialect).label("size"))
    )
    return Dropped(answers=len(gone), answer_bytes=sum(row.size for row in gone))


def contents(database: Database, since_ms: int) -> dict[str, Contents]:
    """What the cache holds and has been good for since then, by request type; flat memory."""
    with database.snapshot() as tx:
        held = {row.request_type: row for row in tx.rows(_held(tx))}
        used = {row.request_type: row for row in tx.rows(_used, since_ms=since_ms)}
    return {
        name: Contents(
            **{column: int(getattr(held[name], column)) for column in ("live", "expired", "answer_bytes")}
            if name in held
            else {},
            **{column: int(getattr(used[name], column)) for column in ("hits", "requests", "saved_nanos")}
            if name in used
            else {},
        )
        for name in sorted({*held, *used})
    }


def _held(tx: Transaction) -> Any:
    is_live = cache_entries.c.expires_ms > tx.now_ms
    return (
        select(
            cache_entries.c.request_type,
            func.count(case((is_live, 1))).label("live"),
            func.count(case((~is_live, 1))).label("expired"),
            func.coalesce(func.sum(_bytes_of(answers.c.body, tx.dialect)), 0).label("answer_bytes"),
        )
        .join_from(cache_entries, answers, answers.c.id == cache_entries.c.answer_id, isouter=True)
        .group_by(cache_entries.c.request_type)
    )


_is_hit = ledger.c.kind == HIT
_used = (
    select(
        ledger.c.request_type,
        func.count(case((_is_hit, 1))).label("hits"),
        func.count(ledger.c.request_id.distinct()).label("requests"),
        func.coalesce(func.sum(attempts.c.cost_nanos), 0).label("saved_nanos"),
    )
    .join_from(ledger, requests, and_(_is_hit, requests.c.id == ledger.c.request_id), isouter=True)
    .join(attempts, attempts.c.id == requests.c.answer_id, isouter=True)
    .where(ledger.c.at_ms >= bindparam("since_ms"))
    .group_by(ledger.c.request_type)
)
