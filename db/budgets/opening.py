"""Openings: what the ledger says was spent, in this period so far, on what a new budget is to cover.

Honest weakness: calls that are out at that moment, and those that are unknown, have no cost in the ledger; they count
on no budget that is made after them.
"""

from typing import Any

from sqlalchemy import and_, false, func, or_, select

from batchmill.budgets.model import Budget, Period, Scope
from db import listings
from db.engine import Transaction
from db.tables import ledger


def spent_so_far(tx: Transaction, budget: Budget, *, start_ms: int, end_ms: int | None) -> int:
    """What a budget has to begin with: 0 for a total, which counts from now on, unless it is a batch's.

    Args:
        start_ms: From when on it counts, in milliseconds since 1970.
        end_ms: Up to but without then; None = for ever.
    """
    if budget.period is Period.TOTAL and budget.scope is not Scope.BATCH:
        return 0
    spent = select(func.coalesce(func.sum(ledger.c.cost_nanos), 0)).where(
        ledger.c.at_ms >= start_ms, _is_covered(tx, budget)
    )
    if end_ms is not None:
        spent = spent.where(ledger.c.at_ms < end_ms)
    return int(tx.rows(spent)[0][0])


def _is_covered(tx: Transaction, budget: Budget) -> Any:
    """As `batchmill.budgets.model.keys_of` matches calls, for entries of the ledger."""
    name = budget.name
    match budget.scope:
        case Scope.GLOBAL:
            return ledger.c.at_ms.is_not(None)
        case Scope.TENANT:
            return ledger.c.tenant == name
        case Scope.USER:
            in_its_tenant = ledger.c.tenant + "/" + ledger.c.user_id == name
            return and_(ledger.c.user_id != "", or_(ledger.c.user_id == name, in_its_tenant))
        case Scope.PROVIDER:
            return ledger.c.provider == name
        case Scope.MODEL:
            at_its_provider = ledger.c.provider + "/" + ledger.c.model == name
            return or_(ledger.c.model == name, at_its_provider)
        case Scope.TYPE:
            return ledger.c.request_type == name
        case Scope.BATCH:
            batch = listings.named(tx, name)
            if batch is None:
                return false()
            return and_(ledger.c.batch_id == batch.id, ledger.c.at_ms >= batch.created_ms)
