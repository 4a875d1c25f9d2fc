"""Limits as Anthropic's wire has them: requests, and input and output tokens apart, told in RFC 3339.

Output counts by what was really answered, once it is known (docs.anthropic.com/en/api/rate-limits: `max_tokens`
does not count). `tokens` is both together.
"""

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from batchmill.sandbox.compose import count_input_tokens
from batchmill.sandbox.limits import Counted, Demands, Excess, Gauge
from batchmill.sandbox.outcomes import Complaint, Headers
from batchmill.sandbox.prompts import Asked
from batchmill.sandbox.windows import NANOS_PER_S

_UNITS: Final[Mapping[Counted, str]] = {
    Counted.REQUESTS: "requests",
    Counted.TOKENS: "tokens",
    Counted.INPUT_TOKENS: "input tokens",
    Counted.OUTPUT_TOKENS: "output tokens",
}


def demands(asked: Asked) -> Demands:
    """A request and its prompt; the answer counts when it is there."""
    prompt = count_input_tokens(asked.context)
    return (
        (Counted.REQUESTS, 1),
        (Counted.TOKENS, prompt),
        (Counted.INPUT_TOKENS, prompt),
        (Counted.OUTPUT_TOKENS, 0),
    )


def limit_headers(gauges: Iterable[Gauge]) -> Headers:
    """Each limit, what remains of it, and when all of it will."""
    now_s = time.time()
    headers: list[tuple[str, str]] = []
    for gauge in gauges:
        name = f"anthropic-ratelimit-{gauge.counted}"
        headers += (
            (f"{name}-limit", str(gauge.limit)),
            (f"{name}-remaining", str(gauge.remaining)),
            (f"{name}-reset", _rfc3339(now_s + gauge.empty_in_ns / NANOS_PER_S)),
        )
    return tuple(headers)


def too_much(excess: Excess) -> Complaint:
    """Too fast, and in how many whole seconds to come again; or larger than the limit, and no time is named."""
    message = (
        f"This request would exceed your organization's rate limit of {excess.limit} "
        f"{_UNITS[excess.counted]} per minute (model: {excess.model})."
    )
    if excess.wait_ns is None:
        return Complaint(status=429, message=f"{message} Reduce the prompt; no waiting helps.")
    return Complaint(status=429, message=message, headers=(("retry-after", str(-(-excess.wait_ms // 1000))),))


def _rfc3339(epoch_s: float) -> str:
    """Whole seconds, rounded up: nobody comes too early."""
    return datetime.fromtimestamp(-(-epoch_s // 1), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
