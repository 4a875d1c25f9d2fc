"""Alerts in the log."""

import structlog

from batchmill.alerts.delivery import ChannelName
from batchmill.alerts.message import Message, Severity

log = structlog.get_logger()


class LogChannel:
    """The log of whoever delivers. It cannot fail, and is always there."""

    name = ChannelName.LOG
    target = "standard error"

    async def send(self, message: Message) -> str:
        """Log it: `budget_alert`, with everything that is known beside it."""
        write = log.warning if message.severity is Severity.WARNING else log.error
        write(
            "budget_alert",
            alert=message.id,
            type=message.type,
            severity=message.severity.value,
            verdict=message.verdict,
            **message.facts,
        )
        return ""
