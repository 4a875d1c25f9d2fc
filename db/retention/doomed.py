"""Which batches go: those that ended long ago, and of which nothing is open any more."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update

from batchmill.requests.model import AttemptState
from db.audit.check import is_of_batch
from db.engine import Database, Transaction
from db.tables import attempts, batch_faults, batches, claims, requests, webhooks, word
from db.webhooks import WebhookState

IDS_A_LOOK = 5_000
NEVER = -1
"""The end of nothing is so early."""

_b = batches.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """What is old.

    Attributes:
        batches_ms: Batches that ended by then; `NEVER` = none is.
        direct_ms: Single requests, the same.
    """

    batches_ms: int
    direct_ms: int

    @property
    def condition(self) -> ColumnElement[bool]:
        """Whether a batch is."""
        return or_(
            and_(~_b.is_direct, _b.ended_ms <= self.batches_ms),
            and_(_b.is_direct, _b.ended_ms <= self.direct_ms),
        )


OWES_WEBHOOK = exists(
    select(1).where(
        webhooks.c.batch_id == _b.id,
        webhooks.c.state.in_([WebhookState.WAITING.value, WebhookState.PENDING.value]),
    )
).correlate(batches)
HAS_UNKNOWNS = or_(
    _b.unknown_attempts != 0,
    exists(
        select(1).where(is_of_batch(attempts.c.request_id), attempts.c.state == word(AttemptState.UNKNOWN))
    ).correlate(batches),
)
"""Their money is open: what they cost is still to be found out."""
_is_claimed = exists(select(1).where(claims.c.batch_id == _b.id)).correlate(batches)
_has_lines = exists(select(1).where(is_of_batch(requests.c.id))).correlate(batches)
_is_begun = and_(_b.removed_ms.is_not(None), _b.cleared_ms.is_(None))


def may_go(tx: Transaction, old: Old) -> ColumnElement[bool]:
    """Whether a batch is old, still there, and nothing of it is owed or open."""
    is_held = _b.clerk_until_ms > tx.now_ms
    return and_(
        old.condition, _b.removed_ms.is_(None), ~or_(is_held, HAS_UNKNOWNS, OWES_WEBHOOK, _is_claimed)
    )


def pages(database: Database, old: Old) -> Iterator[Sequence[Any]]:
    """The rows of those that may go, and of those whose removal was begun, some at a time, by number."""
    with database.read() as tx:
        last = tx.rows(select(func.max(_b.id)))[0][0] or 0
    for first in range(1, last + 1, IDS_A_LOOK):
        with database.read() as tx:
            wanted = or_(_is_begun, may_go(tx, old))
            some = select(batches).where(_b.id.between(first, first + IDS_A_LOOK - 1), wanted)
            found = tx.rows(some.order_by(_b.id))
        if found:
            yield found


def doom(tx: Transaction, ids: Sequence[int], old: Old) -> None:
    """Mark those of these batches that may still go: from the end of this transaction on they are shown as removed."""
    going = update(batches).where(_b.id.in_(list(ids)), may_go(tx, old))
    tx.run(going.values(removed_ms=tx.now_ms))


def begun(tx: Transaction, ids: Sequence[int]) -> Sequence[Any]:
    """Those of these batches that are marked, and not yet cleared."""
    return tx.rows(select(batches).where(_b.id.in_(list(ids)), _is_begun).order_by(_b.id))


def clear(tx: Transaction, ids: Sequence[int]) -> Sequence[Any]:
    """Note that nothing is left of these batches but their rows, where that is so; those of single requests go too,
    unless an entry of the ledger still is of them. Rows of (id, is_direct) of those that are cleared now.

    What somebody has marked for training stays, and its batch is looked at again the next time.
    """
    for table in (batch_faults, webhooks):
        tx.run(delete(table).where(table.c.batch_id.in_(list(ids))))
    bare = update(batches).where(_b.id.in_(list(ids)), _is_begun, ~_has_lines)
    cleared = tx.rows(bare.values(cleared_ms=tx.now_ms).returning(_b.id, _b.is_direct))
    forget_single(tx, ids)
    return cleared


def forget_single(tx: Transaction, ids: Sequence[int]) -> None:
    """Delete the rows of those of these that are single requests of which nothing is left, in the ledger neither."""
    in_no_entry = or_(_b.rolled_ms.is_not(None), and_(_b.calls == 0, _b.cached == 0))
    done_with = and_(_b.is_direct, _b.cleared_ms.is_not(None), in_no_entry)
    tx.run(delete(batches).where(_b.id.in_(list(ids)), done_with))
