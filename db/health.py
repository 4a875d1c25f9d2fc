"""Health: whether those who should be at work are, as far as the database can tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, func, or_, select

from batchmill.requests.model import BatchState
from db.batches import claimable
from db.engine import Transaction
from db.tables import batches, claims, sweeps

PATIENCE_MS = 30_000
"""Work may lie for so long before anybody need worry: the sweep that rings for it comes every ten seconds."""

_claimed = batches.alias("claimed")
_somebody_works_there = exists(
    select(1)
    .join_from(claims, _claimed, _claimed.c.id == claims.c.batch_id)
    .where(_claimed.c.upstream == batches.c.upstream)
).correlate(batches)
_idle = (
    select(batches.c.public_id, batches.c.upstream, batches.c.output_path, batches.c.lane)
    .where(claimable, ~_somebody_works_there)
    .order_by(batches.c.id)
)
_needs_sweeping = select(func.count()).where(
    batches.c.ended_ms.is_(None),
    or_(
        batches.c.state.in_([BatchState.IN_PROGRESS, BatchState.CANCELLING]),
        (batches.c.state == BatchState.FINALIZING) & batches.c.output_path.is_(None),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeping:
    """How the sweep keeps up.

    Attributes:
        unfinished: Batches that count on it.
        age_ms: How long ago the last one ended; None = there was none.
        lost_claims: Claims that ran out a while ago and were not taken back.
    """

    unfinished: int
    age_ms: int | None
    lost_claims: int


def last_sweep_ms(tx: Transaction) -> int | None:
    """When the last sweep ended; None = there was none."""
    last_ms: int | None = tx.rows(select(func.max(sweeps.c.last_ended_ms)))[0][0]
    return last_ms


def sweeping(tx: Transaction) -> Sweeping:
    """How the sweep keeps up."""
    last_ms = last_sweep_ms(tx)
    lost = select(func.count()).where(claims.c.lease_until_ms < tx.now_ms - PATIENCE_MS)
    return Sweeping(
        unfinished=tx.rows(_needs_sweeping)[0][0],
        age_ms=None if last_ms is None else tx.now_ms - last_ms,
        lost_claims=tx.rows(lost)[0][0],
    )


def idle(tx: Transaction) -> Sequence[Any]:
    """Batches with work that has been claimable for a while, of whose provider nobody holds a claim: rows of
    (public_id, upstream, output_path, lane)."""
    since_ms = tx.now_ms - PATIENCE_MS
    return tx.rows(_idle.where(batches.c.started_ms <= since_ms), now_ms=since_ms)
