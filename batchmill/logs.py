"""Logs: static event names with fields beside them, on standard error.

Fields that are named like secrets are blanked always, those named like questions and answers above the debug
level. That is the last net, not the first: what stands inside other fields is not looked at, so callers pass none.

What an event is about is bound where that begins: `batch` and `request` to the task that takes a request on, `job` to a
job's run, `request_id` to an HTTP request, `worker` to the process.
"""

import logging
import sys
from contextvars import ContextVar

import structlog
from structlog.typing import EventDict, WrappedLogger

from batchmill.requests.ids import public_request_id
from batchmill.settings.groups import LogFormat, LogSettings

WITHHELD = "[withheld]"
CONTENT_FIELDS = frozenset({"answer", "body", "content", "input", "messages", "prompt", "reply", "response"})
SECRET_FIELDS = frozenset({"api_key", "authorization", "headers", "key", "password", "secret", "token"})

_subject: ContextVar[tuple[str, int] | None] = ContextVar("subject", default=None)
_process: dict[str, str] = {}


def about_request(batch: str, request: int) -> None:
    """Let events from here on, in this task and those it starts, say which request they are about.

    Its name is put together only when there is an event: it is bound for every request, and few have one.

    Args:
        batch: Public name of its batch.
        request: Its number.
    """
    _subject.set((batch, request))


def name_worker(worker_id: str) -> None:
    """Let every event of this process, whatever its thread, say which worker it is; the newest name counts."""
    _process["worker"] = worker_id


def configure_logs(log: LogSettings) -> None:
    """Send every event of this process to standard error, as the settings say. Call it again after a fork."""
    renderer = structlog.processors.JSONRenderer() if log.format is LogFormat.JSON else _console()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_subject,
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


def add_subject(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add what an event is about, where it does not say so itself."""
    subject = _subject.get()
    if subject is not None:
        batch, request = subject
        event.setdefault("batch", batch)
        event.setdefault("request", public_request_id(batch, request))
    for name, value in _process.items():
        event.setdefault(name, value)
    return event


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
