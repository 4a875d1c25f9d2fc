"""Firing: what the owner of a budget is to be told, written in the very transaction that gives cause; once."""

from typing import Any

from sqlalchemy import bindparam
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.alerts.message import AlertKind
from batchmill.budgets.balance import Balance
from batchmill.budgets.model import Budget
from db.engine import Transaction
from db.prepared import Prepared
from db.tables import budget_alerts

FULL_PERCENT = 100
_COLUMNS = ("period_id", "kind", "detail", "at_ms", "spent_nanos", "limit_nanos")


def _insert(dialect: str) -> Any:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    fired = insert(budget_alerts).values({name: bindparam(name) for name in _COLUMNS})
    return fired.on_conflict_do_nothing(index_elements=["period_id", "kind", "detail"])


_fire = Prepared(_insert)


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
            _write(tx, period.id, AlertKind.THRESHOLD, str(percent), balance)
            highest = percent
    if is_exhausted and highest < FULL_PERCENT in budget.thresholds:
        _write(tx, period.id, AlertKind.THRESHOLD, str(FULL_PERCENT), balance)
    return highest


def fire_overrun(tx: Transaction, period: Any, balance: Balance, model: str) -> None:
    """Fire, once a period and model, that a call was dearer than its hold."""
    _write(tx, period.id, AlertKind.OVERRUN, model, balance)


def _write(tx: Transaction, period: int, kind: AlertKind, detail: str, balance: Balance) -> None:
    tx.run(
        _fire,
        period_id=period,
        kind=kind.value,
        detail=detail,
        at_ms=tx.now_ms,
        spent_nanos=balance.spent_nanos,
        limit_nanos=balance.limit_nanos,
    )
