"""Logs: static event names with fields beside them, on standard error.

Fields that are named like secrets are blanked always, those named like questions and answers above the debug
level. That is the last net, not the first: what stands inside other fields is not looked at, so callers pass none.
"""

import logging
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

from batchmill.settings.groups import LogFormat, LogSettings

WITHHELD = "[withheld]"
CONTENT_FIELDS = frozenset({"answer", "body", "content", "input", "messages", "prompt", "reply", "response"})
SECRET_FIELDS = frozenset({"api_key", "authorization", "headers", "key", "password", "secret", "token"})


def configure_logs(log: LogSettings) -> None:
    """Send every event of this process to standard error, as the settings say. Call it again after a fork."""
    renderer = structlog.processors.JSONRenderer() if log.format is LogFormat.JSON else _console()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            withhold,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[log.level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def withhold(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Blank fields that hold secrets, and above the debug level what was asked or answered."""
    hidden = SECRET_FIELDS if method == "debug" else SECRET_FIELDS | CONTENT_FIELDS
    for name in hidden & event.keys():
        event[name] = WITHHELD
    return event


def _console() -> structlog.dev.ConsoleRenderer:
    # Exceptions come rendered by then: rich tracebacks would print local variables, prompts among them.
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
