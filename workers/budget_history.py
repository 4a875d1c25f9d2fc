"""The history of budgets: the periods that are over, and what their owners were told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batchmill.alerts.alert import Alert
from batchmill.alerts.message import Topic
from batchmill.budgets.model import Scope
from batchmill.budgets.standing import Standing
from db.alerts import Delivery, listed
from db.budgets.standings import past_periods
from db.engine import Database
from workers import alert_views, budget_views
from workers.budgets import chosen, meant

MOST_SHOWN = 12
"""Periods that are over, and alerts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A budget with its history, newest first.

    Attributes:
        past: Rows of the periods that are over.
    """

    standing: Standing
    past: Sequence[Any]
    alerts: Sequence[tuple[Alert, list[Delivery]]]


def histories(database: Database, scope: Scope, name: str) -> list[History]:
    """The budgets of one name.

    Raises:
        MisuseError: The name is missing, or there is one for the global budget.
        NotFoundError: There is no such budget.
    """
    name = meant(database, scope, name)
    with database.read() as tx:
        return [
            History(
                standing=standing,
                past=past_periods(tx, standing.budget.id, MOST_SHOWN),
                alerts=listed(tx, Topic.BUDGET, subjects=[str(standing.budget.id)], most=MOST_SHOWN),
            )
            for standing in chosen(tx, scope, name, ())
        ]


def view(history: History) -> dict[str, Any]:
    """A budget with its history, as JSON shows it."""
    return budget_views.view(history.standing) | {
        "past_periods": [budget_views.period_view(row) for row in history.past],
        "alerts": [alert_views.view(alert, deliveries) for alert, deliveries in history.alerts],
    }
