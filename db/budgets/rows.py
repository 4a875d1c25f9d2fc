"""Budgets from their rows."""

from functools import lru_cache
from typing import Any

from batchmill.budgets.model import Budget, OnLimit, Origin, Period, Scope


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


@lru_cache(maxsize=256)
def _percentages(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if text else ()
