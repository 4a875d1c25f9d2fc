"""Views of alerts, as JSON shows them."""

from collections.abc import Sequence
from typing import Any

from batchmill.alerts.alert import Alert
from batchmill.alerts.delivery import DeliveryState
from batchmill.alerts.message import utc_text
from db.alerts import Delivery


def view(alert: Alert, deliveries: Sequence[Delivery]) -> dict[str, Any]:
    """An alert and its deliveries, as JSON shows them."""
    message = alert.told()
    return {
        "id": message.id,
        "type": message.type,
        "at": utc_text(message.at_ms),
        "severity": message.severity.value,
        "verdict": message.verdict,
        **message.facts,
        "deliveries": [_delivery_view(delivery) for delivery in deliveries],
    }


def _delivery_view(delivery: Delivery) -> dict[str, Any]:
    is_pending = delivery.state is DeliveryState.PENDING
    return {
        "channel": delivery.channel.value,
        "state": delivery.state.value,
        "tries": delivery.tries,
        "next_try_at": utc_text(delivery.next_try_ms) if is_pending else None,
        "sent_at": None if delivery.sent_ms is None else utc_text(delivery.sent_ms),
        "error": delivery.error or None,
    }
