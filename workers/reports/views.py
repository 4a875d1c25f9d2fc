"""Views of the reports that were made, as JSON shows them."""

from typing import Any

from batchmill.alerts.message import utc_text
from batchmill.reports.delivery import Delivery
from db.reports.store import ListedReport


def listed_view(one: ListedReport) -> dict[str, Any]:
    """A report of the list."""
    return {
        "id": one.id,
        "name": one.name,
        "kind": one.kind,
        "since": utc_text(one.start_ms),
        "until": utc_text(one.end_ms),
        "made_at": utc_text(one.made_ms),
        "deliveries": [_delivery_view(delivery) for delivery in one.deliveries],
    }


def _delivery_view(one: Delivery) -> dict[str, Any]:
    return {
        "recipient": one.recipient,
        "state": one.state.value,
        "state_since": utc_text(one.since_ms),
        "tries": one.tries,
        "next_try_at": utc_text(one.next_try_ms) if one.state == "pending" else None,
        "message_id": one.message_id,
        "error": one.error or None,
    }
