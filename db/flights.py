"""Flights: who is asking a question right now, so that nobody else pays for the same one.

The first request with a key leads; every other with that key waits, with no lease and no slot, until the
leader's settlement answers it or promotes one of those waiting. Rows are locked in key order.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Integer, bindparam, case, delete, exists, false, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.requests.model import ENDED, BatchState, RequestState
from db.bulk import INT, STR, rows_of
from db.engine import Transaction
from db.prepared import Prepared, among
from db.tables import batches, flights, requests, word

NOBODY = -1
"""Followers of a flight that is only reserved; whoever boards it makes it one without any."""


def _board_statement(dialect: str) -> Any:
    given = rows_of(dialect, {"cache_key": STR, "request_id": INT, "followers": INT})
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    # SQLite needs a WHERE here, or it takes ON CONFLICT for a join.
    source = select(*given.c).where(given.c.cache_key.is_not(None)).order_by(given.c.cache_key)
    boarding = insert(flights).from_select(["cache_key", "request_id", "followers"], source)
    joined = flights.c.followers + boarding.excluded.followers + 1
    return boarding.on_conflict_do_update(index_elements=["cache_key"], set_={"followers": joined}).returning(
        flights.c.cache_key, flights.c.request_id, flights.c.followers
    )


def _reserve_statement(dialect: str) -> Any:
    given = rows_of(dialect, {"cache_key": STR, "request_id": INT})
    nobody = literal_column(str(NOBODY), Integer)
    source = select(given.c.cache_key, given.c.request_id, nobody).order_by(given.c.cache_key)
    reserving = postgresql.insert(flights).from_select(["cache_key", "request_id", "followers"], source)
    # A row that stays as it is is locked all the same.
    return reserving.on_conflict_do_update(
        index_elements=["cache_key"], set_={"followers": flights.c.followers}, where=false()
    )


_board = Prepared(_board_statement)
_reserve = Prepared(_reserve_statement)
_release = Prepared(delete(flights).where(among(flights.c.cache_key, "keys"), flights.c.followers == NOBODY))
_lock = Prepared(
    select(flights.c.cache_key)
    .where(among(flights.c.cache_key, "keys"))
    .order_by(flights.c.cache_key)
    .with_for_update()
)
_land = Prepared(
    delete(flights)
    .where(among(flights.c.cache_key, "keys"))
    .returning(flights.c.cache_key, flights.c.followers)
)
_led_by = Prepared(
    select(flights.c.cache_key).where(
        among(flights.c.cache_key, "keys"),
        among(flights.c.request_id, "leaders"),
    )
)
_next_in_line = Prepared(
    select(requests.c.id)
    .join(batches, batches.c.id == requests.c.batch_id)
    .where(requests.c.cache_key == bindparam("key"), requests.c.state == word(RequestState.WAITING))
    .order_by(case((batches.c.state == BatchState.IN_PROGRESS, 0), else_=1), requests.c.id)
    .limit(1)
    .with_for_update(of=requests)  # a batch being cancelled ends its waiting requests at the same time
)
_hand_over = Prepared(
    update(flights)
    .where(flights.c.cache_key == bindparam("key"))
    .values(request_id=bindparam("leader"), followers=flights.c.followers - 1)
)
_wake = Prepared(
    update(requests)
    .where(requests.c.id == bindparam("leader"), requests.c.state == word(RequestState.WAITING))
    .values(state=RequestState.PENDING, next_run_ms=bindparam("now_ms"))
)
_waiting, _its_batch = requests.alias("waiting_requests"), batches.alias("waiting_batches")
_somebody_could_lead = exists(
    select(1)
    .join_from(_waiting, _its_batch, _its_batch.c.id == _waiting.c.batch_id)
    .where(
        _waiting.c.cache_key == flights.c.cache_key,
        _waiting.c.state == word(RequestState.WAITING),
        _its_batch.c.state == BatchState.IN_PROGRESS,
    )
).correlate(flights)
_is_stranded = (
    select(flights.c.cache_key)
    .join(requests, requests.c.id == flights.c.request_id, isouter=True)
    .join(batches, batches.c.id == requests.c.batch_id, isouter=True)
    .where(
        flights.c.followers > 0,
        requests.c.id.is_(None)
        | requests.c.state.in_([word(state) for state in ENDED])
        | (
            (requests.c.state == RequestState.PENDING)
            & (batches.c.state != BatchState.IN_PROGRESS)
            & _somebody_could_lead
        ),
    )
)
_stranded = _is_stranded.limit(bindparam("most"))
_still_stranded = Prepared(_is_stranded.where(among(flights.c.cache_key, "keys")))
_unled = select(flights.c.cache_key).where(
    flights.c.request_id.between(bindparam("first"), bindparam("last")),
    flights.c.followers == 0,
    exists(
        select(1).where(
            requests.c.id == flights.c.request_id,
            requests.c.state.in_([RequestState.CANCELLED, RequestState.EXPIRED]),
        )
    ).correlate(flights),
)
_drop_unled = {
    "sqlite": delete(flights).where(flights.c.cache_key.in_(_unled)),
    "postgresql": delete(flights).where(
        flights.c.cache_key.in_(
            select(
                _unled.with_for_update(of=flights, skip_locked=True)
                .cte("unled")
                .prefix_with("MATERIALIZED")
                .c.cache_key
            )
        )
    ),
}


def board(tx: Transaction, groups: Sequence[tuple[str, int, int]]) -> dict[str, int]:
    """Lead or follow, in one step: for each (key, request, how many more of ours ask the same) who leads that key now.

    Every key's row stays locked until the transaction ends, so a follower that parks itself in the same
    transaction cannot be missed by its leader's settlement.
    """
    if not groups:
        return {}
    table = [{"cache_key": key, "request_id": request, "followers": more} for key, request, more in groups]
    return {row.cache_key: row.request_id for row in tx.bulk_rows(_board, table)}


def led_by(tx: Transaction, keys: Sequence[str], leaders: Sequence[int]) -> list[str]:
    """Those of the keys whose flight one of these requests leads."""
    if not keys:
        return []
    return [row.cache_key for row in tx.rows(_led_by, keys=list(keys), leaders=list(leaders))]


def reserve(tx: Transaction, wanted: Mapping[str, int]) -> None:
    """Lock the flights of these keys, in key order, also those that do not exist yet: (key, who would lead it).

    Two transactions that board new flights in between each other's would else wait for each other. `release`
    what has been neither boarded nor landed in the end.
    """
    if wanted and tx.dialect != "sqlite":
        table = [{"cache_key": key, "request_id": wanted[key]} for key in sorted(wanted)]
        tx.set_wise(_reserve, table)


def release(tx: Transaction, keys: Sequence[str]) -> None:
    """Delete those of these flights that have only been reserved."""
    if keys and tx.dialect != "sqlite":
        tx.run(_release, keys=list(keys))


def lock(tx: Transaction, keys: Sequence[str]) -> None:
    """Lock these flights, in key order, until the transaction ends."""
    if keys and tx.dialect != "sqlite":
        tx.rows(_lock, keys=sorted(keys))


def land(tx: Transaction, keys: Sequence[str]) -> list[str]:
    """End these flights; the keys of those that others may be waiting for."""
    if not keys:
        return []
    return [row.cache_key for row in tx.rows(_land, keys=list(keys)) if row.followers > 0]


def promote(tx: Transaction, key: str) -> None:
    """Let the first of those waiting lead, rather one whose batch runs; without any, end the flight."""
    waiting = tx.rows(_next_in_line, key=key)
    if not waiting:
        land(tx, [key])
        return
    leader = waiting[0].id
    tx.run(_hand_over, key=key, leader=leader)
    tx.run(_wake, leader=leader, now_ms=tx.now_ms)


def stranded(tx: Transaction, most: int) -> list[str]:
    """Keys whose leader will not call any more (it ended, or its batch stands still) while others may wait.

    Their flights are locked, in key order, until the transaction ends: a leader that has come back to life finds
    that it leads no more.
    """
    found = [row.cache_key for row in tx.rows(_stranded, most=most)]
    if not found or tx.dialect == "sqlite":
        return found
    lock(tx, found)
    return sorted(row.cache_key for row in tx.rows(_still_stranded, keys=found))


def drop_unled(tx: Transaction, first: int, last: int) -> None:
    """Delete the flights of requests in this range that ended early, where nobody follows."""
    tx.run(_drop_unled[tx.dialect], first=first, last=last)
