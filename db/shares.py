"""Shares: whose turn it is. A share is what a tenant has in a lane, and stride scheduling goes between them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, bindparam, case, func, not_, or_, select, update

from batchmill.requests.ids import MAX_PLACES
from batchmill.requests.model import Lane
from db.batches import claimable
from db.bulk import BOOL
from db.engine import Transaction
from db.prepared import Prepared, among
from db.tables import batches, shares

STRIDES = {Lane.HIGH: 1, Lane.NORMAL: 10, Lane.LOW: 100}
"""What a claimed line adds to its share's pass. The lowest pass is served first, so of a hundred and eleven lines
claimed while every lane has work, `high` gets a hundred, `normal` ten, and `low` one: it never starves."""

LANE_ORDER = {Lane.HIGH: 0, Lane.NORMAL: 1, Lane.LOW: 2}
TURNS_OF_A_CLAIM = 8
SHORTEST_TURN = 8
"""Shares that compete take turns within a claim, each an eighth of it long, so that a large claim is fair too."""

of_batch = and_(shares.c.lane == batches.c.lane, shares.c.tenant == batches.c.tenant)

_is_offered = and_(
    claimable,
    among(batches.c.upstream, "upstreams"),
    among(batches.c.lane, "lanes"),
    or_(
        bindparam("only_batch", type_=batches.c.id.type).is_(None),
        batches.c.id == bindparam("only_batch"),
    ),
    or_(bindparam("runs_too", type_=BOOL), batches.c.output_path.is_(None)),
    not_(among(batches.c.id, "passed_over")),
)
_fairest_batch = Prepared(
    select(batches, shares.c["pass"].label("share_pass"))
    .join(shares, of_batch)
    .where(_is_offered)
    .order_by(shares.c["pass"], case(LANE_ORDER, value=batches.c.lane), batches.c.id)
    .limit(1)
)
_other_shares = Prepared(
    select(shares.c.lane, func.min(shares.c["pass"]).label("lowest"))
    .join(batches, of_batch)
    .where(_is_offered, or_(shares.c.lane != bindparam("of_lane"), shares.c.tenant != bindparam("of_tenant")))
    .group_by(shares.c.lane)
)
_charge = Prepared(
    update(shares)
    .where(shares.c.lane == bindparam("of_lane"), shares.c.tenant == bindparam("of_tenant"))
    .values({"pass": shares.c["pass"] + bindparam("cost")})
)


@dataclass(slots=True, kw_only=True)
class Offer:
    """What there is for one claim.

    Attributes:
        upstreams: Whom the requests may be meant for.
        only_batch: It is for this batch alone.
        runs_too: It is also for batches of `batchmill run`.
        most: How many requests it has room for.
        passed_over: Batches that have given it all they can.
    """

    upstreams: list[str]
    only_batch: int | None
    runs_too: bool
    most: int
    passed_over: list[int] = field(default_factory=list)

    def fairest(self, tx: Transaction, lanes: Sequence[Lane]) -> Any | None:
        """The batch whose turn it is, in these lanes; with its share's pass as `share_pass`."""
        found = tx.rows(_fairest_batch, **self._values(tx, lanes))
        return found[0] if found else None

    def turn(self, tx: Transaction, lanes: Sequence[Lane], batch: Any) -> int:
        """How many lines a batch's share may give until it is another's turn: until it is a quantum ahead of it."""
        if self.only_batch is not None:
            return MAX_PLACES
        quantum = max(SHORTEST_TURN, self.most // TURNS_OF_A_CLAIM)
        stride = STRIDES[Lane(batch.lane)]
        others = tx.rows(_other_shares, of_lane=batch.lane, of_tenant=batch.tenant, **self._values(tx, lanes))
        limits = [share.lowest + quantum * min(stride, STRIDES[Lane(share.lane)]) for share in others]
        return max(1, (min(limits) - batch.share_pass) // stride) if limits else MAX_PLACES

    def _values(self, tx: Transaction, lanes: Sequence[Lane]) -> dict[str, Any]:
        return {
            "now_ms": tx.now_ms,
            "upstreams": self.upstreams,
            "lanes": list(lanes),
            "only_batch": self.only_batch,
            "runs_too": self.runs_too,
            "passed_over": self.passed_over,
        }


def charge(tx: Transaction, batch: Any, lines: int) -> None:
    """Let a batch's share go back in the line by what it was given."""
    if lines:
        cost = STRIDES[Lane(batch.lane)] * lines
        tx.run(_charge, of_lane=batch.lane, of_tenant=batch.tenant, cost=cost)
