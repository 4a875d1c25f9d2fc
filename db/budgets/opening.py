"""Openings: what the books say was spent, in this period so far, on what a new budget is to cover.

Honest weakness: calls that are out at that moment, and those that are unknown, have no cost in the ledger; they count
on no budget that is made after them.
"""

from typing import Any

from sqlalchemy import and_, false, func, or_, select

from batchmill.budgets.model import Budget, Period, Scope
from db import listings
from db.books import both
from db.engine import Transaction

_books = both("at_ms", "batch_id", "tenant", "user_id", "provider", "model", "request_type", "cost_nanos")


def spent_so_far(tx: Transaction, budget: Budget, *, start_ms: int, end_ms: int | None) -> int:
    """What a budget has to begin with: 0 for a total, which counts from now on, unless it is a batch's.

    Args:
        start_ms: From when on it counts, in milliseconds since 1970.
        end_ms: Up to but without then; None = for ever.
    """
    if budget.period is Period.TOTAL and budget.scope is not Scope.BATCH:
        return 0
    spent = select(func.coalesce(func.sum(_books.c.cost_nanos), 0)).where(
        _books.c.at_ms >= start_ms, _is_covered(tx, budget)
    )
    if end_ms is not None:
        spent = spent.where(_books.c.at_ms < end_ms)
    return int(tx.rows(spent)[0][0])


def _is_covered(tx: Transaction, budget: Budget) -> Any:
    """As `batchmill.budgets.model.keys_of` matches calls, for what the books have."""
    name = budget.name
    match budget.scope:
        case Scope.GLOBAL:
            return _books.c.at_ms.is_not(None)
        case Scope.TENANT:
            return _books.c.tenant == name
        case Scope.USER:
            in_its_tenant = _books.c.tenant + "/" + _books.c.user_id == name
            return and_(_books.c.user_id != "", or_(_books.c.user_id == name, in_its_tenant))
        case Scope.PROVIDER:
            return _books.c.provider == name
        case Scope.MODEL:
            at_its_provider = _books.c.provider + "/" + _books.c.model == name
            return or_(_books.c.model == name, at_its_provider)
        case Scope.TYPE:
            return _books.c.request_type == name
        case Scope.BATCH:
            batch = listings.named(tx, name)
            if batch is None:
                return false()
            return and_(_books.c.batch_id == batch.id, _books.c.at_ms >= batch.created_ms)
