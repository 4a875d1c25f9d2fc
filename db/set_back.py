"""A clock that has been set back: what waits for a moment of its old time would wait for as much longer.

Who sweeps finds out, as the last sweep seems to have ended in the future. Only what would stand still is mended: lines
to be tried again, circuits, leases of claims. A living worker's leases come right with their next renewal; those of one
that died before are brought forward, unless the clock went back by less than a minute: then they last so much longer.
"""

from typing import Any

from sqlalchemy import Column, bindparam, case, literal, select, update

from db.engine import Transaction
from db.tables import circuits, claims, requests, sweeps

LEAST_MS = 2_000
LEAST_FOR_LEASES_MS = 60_000

_last = select(sweeps.c.last_ended_ms).where(sweeps.c.name == bindparam("sweep"))


def mend(tx: Transaction, sweep: str) -> int:
    """Bring forward what the clock was set back by since the last sweep of that name; how far that is, in ms, or 0."""
    found = tx.rows(_last, sweep=sweep)
    by_ms = (found[0].last_ended_ms or 0) - tx.now_ms if found else 0
    if by_ms < LEAST_MS:
        return 0
    for column in (requests.c.next_run_ms, circuits.c.open_until_ms, circuits.c.probe_until_ms):
        _bring_forward(tx, column, by_ms)
    tx.run(update(circuits).where(circuits.c.counts_from_ms > tx.now_ms).values(counts_from_ms=tx.now_ms))
    if by_ms >= LEAST_FOR_LEASES_MS:
        lasting = claims.c.lease_until_ms > tx.now_ms + by_ms
        tx.run(update(claims).where(lasting).values(lease_until_ms=claims.c.lease_until_ms - by_ms))
    return by_ms


def _bring_forward(tx: Transaction, column: Column[Any], by_ms: int) -> None:
    earlier = column - by_ms
    values = {column: case((earlier > tx.now_ms, earlier), else_=literal(tx.now_ms))}
    tx.run(update(column.table).where(column > tx.now_ms).values(values))
