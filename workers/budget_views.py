"""Views of budgets, as JSON shows them. Times are UTC, money is exact dollars as text."""

from typing import Any

from batchmill.budgets.standing import Standing
from batchmill.money.nanos import usd_text
from workers.views import time_text


def view(standing: Standing) -> dict[str, Any]:
    """A budget, and how far it is used in the period that is now."""
    budget, balance = standing.budget, standing.balance
    return {
        "scope": budget.scope.value,
        "name": budget.name or None,
        "period": budget.period.value,
        "timezone": budget.zone,
        "origin": budget.origin.value,
        "on_limit": budget.on_limit.value,
        "downgrade_at_percent": budget.downgrade_percent,
        "thresholds_percent": list(budget.thresholds),
        "allow_unpriced": budget.allows_unpriced,
        "since": time_text(standing.start_ms),
        "until": time_text(standing.end_ms),
        "limit_usd": usd_text(balance.limit_nanos),
        "spent_usd": usd_text(balance.spent_nanos),
        "unknown_usd": usd_text(balance.unknown_nanos),
        "overrun_usd": usd_text(balance.overrun_nanos),
        "opening_usd": usd_text(standing.opening_nanos),
        "held_usd": usd_text(balance.held_nanos),
        "left_usd": usd_text(standing.left_nanos),
        "used_percent": standing.used_percent,
    }


def period_view(row: Any) -> dict[str, Any]:
    """A period that is over.

    Args:
        row: Of `budget_periods`.
    """
    return {
        "since": time_text(row.start_ms),
        "until": time_text(row.end_ms),
        "limit_usd": usd_text(row.limit_nanos),
        "spent_usd": usd_text(row.spent_nanos),
        "unknown_usd": usd_text(row.unknown_nanos),
        "overrun_usd": usd_text(row.overrun_nanos),
        "held_usd": usd_text(row.held_nanos),
    }
