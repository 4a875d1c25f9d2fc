"""Health: whether those who should be at work are, as far as the database can tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, case, exists, func, or_, select

from batchmill.requests.model import BatchState, Lane
from db.batches import claimable
from db.engine import Transaction
from db.tables import batches, claims, requests, sweeps

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
_served = batches.alias("served")
_its_share_is_served = exists(
    select(1)
    .join_from(claims, _served, _served.c.id == claims.c.batch_id)
    .where(
        _served.c.lane == batches.c.lane,
        _served.c.tenant == batches.c.tenant,
        claims.c.lease_until_ms > bindparam("now_ms"),
    )
).correlate(batches)
_first_due = (
    select(func.min(requests.c.next_run_ms))
    .where(requests.c.batch_id == batches.c.id, requests.c.next_run_ms <= bindparam("now_ms"))
    .correlate(batches)
    .scalar_subquery()
)
_fresh = batches.c.cursor < batches.c.total
_waits_since = case((_fresh, batches.c.started_ms), else_=_first_due)
_waits = (
    select(
        batches.c.lane,
        func.min(_waits_since).label("since_ms"),
        func.min(case((~_its_share_is_served, _waits_since))).label("unserved_since_ms"),
    )
    .where(claimable)
    .group_by(batches.c.lane)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How long requests of a lane have waited that anybody could claim right now.

    What is paused, or waits for a budget, for limits or for its next try, is none of them.

    Attributes:
        longest_ms: The longest wait; of a batch's lines that nobody has taken up yet it is as long as the batch runs.
        unserved_ms: The same where nobody is at work on anything of the same lane and tenant: what stands behind
            others of its tenant, who may wait for limits themselves, is served in its turn.
    """

    longest_ms: int = 0
    unserved_ms: int = 0


def waits(tx: Transaction) -> dict[Lane, Wait]:
    """By lane how long requests wait."""
    found = {lane: Wait() for lane in Lane}
    for row in tx.rows(_waits, now_ms=tx.now_ms):
        found[Lane(row.lane)] = Wait(
            longest_ms=tx.now_ms - row.since_ms,
            unserved_ms=0 if row.unserved_since_ms is None else tx.now_ms - row.unserved_since_ms,
        )
    return found


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
