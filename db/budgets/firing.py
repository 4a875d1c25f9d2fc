"""Firing: what the owner of a budget is to be told, written in the very transaction that gives cause; once."""

from typing import Any

from batchmill.alerts.budget import BudgetEvent, facts_of
from batchmill.alerts.message import Topic
from batchmill.budgets.balance import Balance
from batchmill.budgets.model import Budget
from db import alerts
from db.engine import Transaction

FULL_PERCENT = 100


def fire_thresholds(
    tx: Transaction, period: Any, budget: Budget, balance: Balance, *, is_exhausted: bool
) -> int:
    """Fire every threshold that has been reached and not been fired; the highest that has been, in percent.

    Args:
        period: The row of the period, as it was.
        is_exhausted: A call found no room in what is left: that is 100 %, however much that is.
    """
    highest: int = period.alerted_percent
    for percent in budget.thresholds:
        if percent > highest and balance.has_used(percent):
            _write(tx, period, budget, BudgetEvent.THRESHOLD, str(percent), balance)
            highest = percent
    if is_exhausted and highest < FULL_PERCENT in budget.thresholds:
        _write(tx, period, budget, BudgetEvent.THRESHOLD, str(FULL_PERCENT), balance)
    return highest


def fire_overrun(tx: Transaction, period: Any, budget: Budget, balance: Balance, model: str) -> None:
    """Fire, once a period and model, that a call was dearer than its hold."""
    _write(tx, period, budget, BudgetEvent.OVERRUN, model, balance)


def _write(
    tx: Transaction, period: Any, budget: Budget, kind: BudgetEvent, detail: str, balance: Balance
) -> None:
    facts = facts_of(
        budget, balance, detail, period_id=period.id, start_ms=period.start_ms, end_ms=period.end_ms
    )
    occasion = f"{period.id}:{detail}"
    alerts.fire(tx, Topic.BUDGET, kind, subject=str(budget.id), occasion=occasion, facts=facts)
