"""Fitting the cache into its room: the answers that are worth least go, in short steps and flat memory.

No list of what is to go: the first pass over the entries counts how much there is of each rank of worth, which gives
the line; the second drops what is below it. What is used between the two has risen by then, and stays.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, false, func, select, tuple_

from batchmill.cache.room import Cut, Ranks, Room, Size
from batchmill.cache.worth import rank_of
from db.bulk import INT, STR
from db.cache_drops import FACTS, Dropped, Pace, drop_step, weigh
from db.engine import Database
from db.prepared import Prepared
from db.tables import cache_entries

ENTRIES_A_COUNT = 20_000
"""That the database adds up by itself."""

ENTRIES_A_PAGE = 2_000
"""That are looked at one by one."""

_e = cache_entries.c


class Phase(StrEnum):
    """What is being done."""

    EXPIRED = "expired"
    COUNTING = "counting"
    RANKING = "ranking"
    DROPPING = "dropping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """How far it has come.

    Attributes:
        done: Entries that have been seen to in this phase.
        of: How many those are about; 0 = nobody knows.
    """

    phase: Phase
    done: int
    of: int = 0


_END = 2**62
"""Nothing expires later."""

Tell = Callable[[Stage], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What came of it.

    Attributes:
        held: What there was.
        gone: What of it went, or would go.
        dropped: The part of that which nothing else pointed to.
        rank: Where the line was drawn (see `batchmill.cache.worth`); None = there was room for all.
    """

    held: Size
    gone: Size
    dropped: Dropped
    rank: int | None = None


def held(database: Database, now_ms: int, tell: Tell = lambda stage: None) -> Size:
    """How large the cache is, what has expired aside."""
    found, after_ms = Size(), now_ms
    while True:
        with database.read() as tx:
            edge = tx.rows(_edge, after_ms=after_ms)
            upto_ms = edge[0].expires_ms if edge else _END
            (part,) = tx.rows(_part, after_ms=after_ms, upto_ms=upto_ms)
        found += Size(entries=part.entries, answer_bytes=int(part.answer_bytes))
        tell(Stage(phase=Phase.COUNTING, done=found.entries))
        if not edge:
            return found
        after_ms = upto_ms


def fit(database: Database, room: Room, pace: Pace, tell: Tell, *, is_dry: bool = False) -> Fitted:
    """Drop what is worth least until the cache fits into its room, with a tenth of that to spare.

    What has expired neither counts nor goes here. Only what was there at the beginning goes, and nothing that somebody
    has verified.

    Args:
        tell: Called between steps; what it raises ends this.
        is_dry: Only find out what would go.
    """
    now_ms = database.now_ms()
    size = held(database, now_ms, tell)
    surplus = room.surplus(size)
    cut = None if surplus == Size() else _ranks(database, now_ms, size, tell).cut(surplus)
    if cut is None:
        return Fitted(held=size, gone=Size(), dropped=Dropped())
    gone, dropped, rank = Size(), Dropped(), cut.rank
    for rows in _doomed(database, now_ms, cut, pace):
        if is_dry:
            with database.read() as tx:
                step = weigh(tx, rows)
        else:
            with pace:
                step = drop_step(
                    database,
                    [row.cache_key for row in rows],
                    _is_meant(now_ms),
                    lambda row: _rank(row, now_ms) <= rank,
                )
        gone, dropped = gone + step.size, dropped + step.dropped
        tell(Stage(phase=Phase.DROPPING, done=gone.entries, of=cut.size.entries))
    return Fitted(held=size, gone=gone, dropped=dropped, rank=rank)


def _ranks(database: Database, now_ms: int, size: Size, tell: Tell) -> Ranks:
    ranks, done = Ranks(), 0
    for page in _pages(database, now_ms):
        for row in page:
            ranks.add(_rank(row, now_ms), row.answer_bytes)
        done += len(page)
        tell(Stage(phase=Phase.RANKING, done=done, of=size.entries))
    return ranks


def _doomed(database: Database, now_ms: int, cut: Cut, pace: Pace) -> Iterator[Sequence[Any]]:
    """What is below the line, in steps; the next to expire first."""
    rows: list[Any] = []
    for page in _pages(database, now_ms):
        for row in page:
            if cut.takes(_rank(row, now_ms), row.answer_bytes):
                rows.append(row)
            if len(rows) >= pace.size:
                yield rows
                rows = []
    if rows:
        yield rows


def _rank(row: Any, now_ms: int) -> int:
    last_ms = row.created_ms if row.last_used_ms is None else max(row.created_ms, row.last_used_ms)
    return rank_of(
        answer_bytes=row.answer_bytes,
        cost_nanos=row.cost_nanos,
        uses=row.usage_count,
        idle_ms=now_ms - last_ms,
        rating=row.rating,
    )


def _pages(database: Database, now_ms: int) -> Iterator[Sequence[Any]]:
    """The entries that may go, some at a time, in the order in which they expire."""
    expires_ms, after = now_ms + 1, ""
    while True:
        with database.read() as tx:
            found = tx.rows(_page, now_ms=now_ms, expires_ms=expires_ms, after=after, most=ENTRIES_A_PAGE)
        if not found:
            return
        expires_ms, after = found[-1].expires_ms, found[-1].cache_key
        yield found


def _is_meant(now_ms: Any) -> ColumnElement[bool]:
    """Made before this began, and not verified by anyone."""
    return and_(_e.created_ms <= now_ms, _e.verified == false())


_order = tuple_(_e.expires_ms, _e.cache_key)
_page = Prepared(
    select(*FACTS)
    .where(
        _order > tuple_(bindparam("expires_ms", type_=INT), bindparam("after", type_=STR)),
        _is_meant(bindparam("now_ms", type_=INT)),
    )
    .order_by(*_order.clauses)
    .limit(bindparam("most", type_=INT))
)
_edge = Prepared(
    select(_e.expires_ms)
    .where(_e.expires_ms > bindparam("after_ms", type_=INT))
    .order_by(_e.expires_ms)
    .offset(ENTRIES_A_COUNT)
    .limit(1)
)
_part = Prepared(
    select(
        func.count().label("entries"), func.coalesce(func.sum(_e.answer_bytes), 0).label("answer_bytes")
    ).where(
        _e.expires_ms > bindparam("after_ms", type_=INT), _e.expires_ms <= bindparam("upto_ms", type_=INT)
    )
)
