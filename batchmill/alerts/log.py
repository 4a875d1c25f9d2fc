"""Alerts in the log."""

import logging

import structlog

from batchmill.alerts.delivery import ChannelName
from batchmill.alerts.message import Message, Severity, Topic

log = structlog.get_logger()

_TOPICS = frozenset(topic.value for topic in Topic)
_LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING}


class LogChannel:
    """The log of whoever delivers. It cannot fail, and is always there."""

    name = ChannelName.LOG
    target = "standard error"

    async def send(self, message: Message) -> str:
        """Log it: `budget_alert` or `health_alert`, with everything that is known beside it."""
        topic = message.type.partition(".")[0]
        log.log(
            _LEVELS.get(message.severity, logging.ERROR),
            f"{topic}_alert" if topic in _TOPICS else "alert",
            alert=message.id,
            type=message.type,
            severity=message.severity.value,
            verdict=message.verdict,
            **message.facts,
        )
        return ""
