"""Budgets and their balances from their rows."""

from functools import lru_cache
from typing import Any

from sqlalchemy import and_, bindparam, or_

from batchmill.budgets.balance import Balance
from batchmill.budgets.model import Budget, OnLimit, Origin, Period, Scope
from db.bulk import INT
from db.tables import budget_periods, budgets

IS_NOW = and_(
    budget_periods.c.start_ms <= bindparam("now_ms", type_=INT),
    or_(budget_periods.c.end_ms.is_(None), budget_periods.c.end_ms > bindparam("now_ms", type_=INT)),
)
"""Whether a period is the current one; takes `now_ms`."""
IS_ITS_NOW = and_(budget_periods.c.budget_id == budgets.c.id, IS_NOW)
"""Whether it is the current one of a budget beside it."""

MOVING = ("spent_nanos", "held_nanos", "unknown_nanos", "overrun_nanos")
"""The columns of a period that calls change."""
BALANCE = ("limit_nanos", *MOVING)


def budget_of(row: Any, prefix: str = "") -> Budget:
    """A budget.

    Args:
        row: With the columns of `budgets`.
        prefix: What stands before the names of those columns.
    """

    def get(name: str) -> Any:
        return getattr(row, prefix + name)

    return Budget(
        id=get("id"),
        scope=Scope(get("scope")),
        name=get("name"),
        period=Period(get("period")),
        zone=get("zone"),
        limit_nanos=get("limit_nanos"),
        thresholds=_percentages(get("thresholds")),
        on_limit=OnLimit(get("on_limit")),
        downgrade_percent=get("downgrade_percent"),
        allows_unpriced=bool(get("allows_unpriced")),
        origin=Origin(get("origin")),
    )


def balance_of(row: Any, prefix: str = "") -> Balance:
    """What is spent and held in a period.

    Args:
        row: With the columns of `budget_periods`.
        prefix: What stands before the names of those columns.
    """
    return Balance(**{name: getattr(row, prefix + name) for name in BALANCE})


@lru_cache(maxsize=256)
def _percentages(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if text else ()
