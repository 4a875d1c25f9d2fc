"""A clock that has been set back: what waits for a moment of its old time would wait for as much longer.

Who sweeps finds out, as the last sweep seems to have begun or ended in the future. Only what would stand still is
mended: lines to be tried again, circuits, leases of claims. A living worker's leases come right with their next
renewal; those of one that died before are brought forward, unless the clock went back by less than a minute: then they
last so much longer.
"""

from typing import Any

from sqlalchemy import Column, case, literal, update

from db.engine import Transaction
from db.tables import circuits, claims, requests

LEAST_MS = 2_000
LEAST_FOR_LEASES_MS = 60_000


def mend(tx: Transaction, latest_ms: int) -> int:
    """Bring forward what waits, if it was later before; by how much that is, in ms, or 0.

    Args:
        latest_ms: The latest moment that a sweep is known to have been at work.
    """
    by_ms = latest_ms - tx.now_ms
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
