"""Limits as Gemini's wire has them: requests, and the tokens of the prompt; no header tells about them.

Tokens a minute are those of the input (ai.google.dev/gemini-api/docs/rate-limits).
"""

from collections.abc import Iterable, Mapping
from typing import Final

from batchmill.sandbox.compose import count_input_tokens
from batchmill.sandbox.limits import Counted, Demands, Excess, Gauge
from batchmill.sandbox.outcomes import Complaint, Headers
from batchmill.sandbox.prompts import Asked
from batchmill.sandbox.wires.gemini.errors import quota_failure, retry_info

_QUOTAS: Final[Mapping[Counted, tuple[str, str]]] = {
    Counted.REQUESTS: (
        "generate_content_paid_tier_requests",
        "GenerateRequestsPerMinutePerProjectPerModel",
    ),
    Counted.TOKENS: (
        "generate_content_paid_tier_input_token_count",
        "GenerateContentInputTokensPerModelPerMinute",
    ),
}


def demands(asked: Asked) -> Demands:
    """A request and its prompt."""
    return ((Counted.REQUESTS, 1), (Counted.TOKENS, count_input_tokens(asked.context)))


def limit_headers(gauges: Iterable[Gauge]) -> Headers:
    """None."""
    return ()


def too_much(excess: Excess) -> Complaint:
    """Too fast, and in how long to come again; no time is named where none helps."""
    metric, quota_id = _QUOTAS[excess.counted]
    quota = quota_failure(metric, quota_id, excess.model, excess.limit)
    message = (
        "You exceeded your current quota, please check your plan and billing details.\n"
        f"* Quota exceeded for metric: {metric}, limit: {excess.limit}, model: {excess.model}"
    )
    if excess.wait_ns is None:
        return Complaint(status=429, message=message, details=(quota,))
    message += f"\nPlease retry in {excess.wait_ms / 1000}s."
    return Complaint(status=429, message=message, details=(quota, retry_info(excess.wait_ms)))
