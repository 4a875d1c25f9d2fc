"""The books: the ledger, and the daily rows that its older entries were rolled up to, as one.

Whoever adds up over any time reads these, not the ledger. A request is whole in one of the two. A daily row stands at
the middle of its day: a period that begins or ends within that day has all of it or nothing. Unknown calls are never
rolled up. Who needs single entries reads the ledger, and no further back than those are kept: experience for quotes,
the figures of today, the pace of a batch.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, case, func, null, or_, select, union_all

from batchmill.requests.judge import NOT_KNOWN
from db.engine import Transaction
from db.ledger import CALL, CORRECTION, HIT
from db.tables import ledger, ledger_days

SINGLE_REQUESTS = 0
"""The batch of daily rows that are of single requests."""

TOKENS = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_tokens",
)
IS_UNKNOWN = ledger.c.cost_reason == NOT_KNOWN.reason
IS_UNPRICED = and_(ledger.c.cost_nanos.is_(None), ~IS_UNKNOWN)
"""What an entry is. Corrected or not, the entry of an unknown call is not unpriced."""


def _one_where(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


_counted: Mapping[str, ColumnElement[int]] = {
    "calls": _one_where(ledger.c.kind == CALL),
    "failed": _one_where(and_(ledger.c.kind == CALL, ~ledger.c.success)),
    "hits": _one_where(ledger.c.kind == HIT),
    "corrections": _one_where(ledger.c.kind == CORRECTION),
    "unpriced": _one_where(IS_UNPRICED),
}


def both(*names: str) -> FromClause:
    """These columns of the ledger and of its daily rows, below each other.

    Args:
        names: Columns that both have, and of the daily rows `calls`, `failed`, `hits`, `corrections`, `unpriced`.
    """
    entries = [(_counted[name] if name in _counted else ledger.c[name]).label(name) for name in names]
    return union_all(select(*entries), select(*(ledger_days.c[name] for name in names))).subquery("books")


def rolled_up_to(tx: Transaction) -> int:
    """The last moment that daily rows stand at; 0 = there are none."""
    return int(tx.rows(select(func.max(ledger_days.c.at_ms)))[0][0] or 0)


def cost_together(one: Any, other: Any) -> Any:
    """Two costs added up; NULL = that of neither is known."""
    neither = and_(one.is_(None), other.is_(None))
    known = [case((cost.is_(None), 0), else_=cost) for cost in (one, other)]
    return case((neither, null()), else_=known[0] + known[1])


def is_single(batch_id: Any, is_direct: Any) -> ColumnElement[bool]:
    """Whether an entry or daily row is of a single request.

    Args:
        is_direct: Of the batch beside it, which need not be there.
    """
    return or_(batch_id == SINGLE_REQUESTS, is_direct)
