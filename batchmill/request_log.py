"""The log of requests: one event for every call to a provider, and for every request over HTTP; never what they say.

It is switched on by BATCHMILL_LOG_REQUESTS. Whose words an event might hold, it has none of: no prompts and answers, no
messages of errors, no custom ids, no query strings.
"""

from dataclasses import dataclass

import structlog

from batchmill.providers.base import Verdict
from batchmill.requests.work import Outcome
from batchmill.settings.groups import LogRequests

log = structlog.get_logger()

CLIENT_ERROR = 400


@dataclass(frozen=True, slots=True)
class CallLog:
    """Logs calls. Batch and request are bound to the task by then (`batchmill.logs`)."""

    which: LogRequests

    def write(self, outcome: Outcome) -> None:
        """Log how a call has ended."""
        reply, attempt = outcome.reply, outcome.attempt
        is_answered = reply.verdict is Verdict.ANSWERED
        if is_answered and self.which is not LogRequests.ALL:
            return
        usage = reply.usage
        say = log.info if is_answered else log.warning
        say(
            "call_ended",
            provider=attempt.provider,
            model=attempt.model,
            attempt=attempt.number,
            verdict=reply.verdict.value,
            status=reply.status_code,
            error=reply.error_code or None,
            then=outcome.state.value,
            latency_ms=reply.latency_ms,
            input_tokens=None if usage is None else usage.input_tokens,
            cached_tokens=None if usage is None else usage.cached_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            cost_nanos=outcome.cost.nanos,
        )


@dataclass(frozen=True, slots=True)
class AccessLog:
    """Logs requests over HTTP. Their id is bound by then."""

    which: LogRequests

    def write(self, method: str, route: str, status: int | None, latency_ms: int) -> None:
        """Log how a request was answered.

        Args:
            route: The template of its path.
            status: None = it was not.
        """
        is_well = status is not None and status < CLIENT_ERROR
        if is_well and self.which is not LogRequests.ALL:
            return
        say = log.info if is_well else log.warning
        say("http_answered", method=method, route=route, status=status, latency_ms=latency_ms)
