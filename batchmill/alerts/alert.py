"""An alert of any topic, from how it is kept."""

from collections.abc import Mapping
from typing import Any

from batchmill.alerts.budget import BudgetAlert
from batchmill.alerts.health import HealthAlert
from batchmill.alerts.message import Topic

Alert = BudgetAlert | HealthAlert
"""Each has an id, a moment, a severity, a verdict, and is `told()` as a `Message`."""


def alert_of(topic: str, *, id_: int, kind: str, at_ms: int, subject: str, facts: Mapping[str, Any]) -> Alert:
    """The alert that was kept so."""
    if Topic(topic) is Topic.BUDGET:
        return BudgetAlert.read(id_, kind, at_ms, facts)
    return HealthAlert.read(id_, kind, at_ms, subject, facts)
