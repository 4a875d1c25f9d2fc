"""Limits as OpenAI's wire has them: requests and tokens, told in Go's durations.

A call's tokens are those of its prompt and the most it may be answered with, `max_tokens` × `n`; a call that
does not bound its answer counts `UNBOUNDED_TOKENS` for each choice, the default of the completions endpoint.
Nothing is given back when the answer turns out shorter.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from batchmill.periods import go_duration
from batchmill.requests.model import Endpoint
from batchmill.sandbox.compose import count_input_tokens
from batchmill.sandbox.limits import Counted, Demands, Excess, Gauge, whole_ms
from batchmill.sandbox.outcomes import Complaint, Headers
from batchmill.sandbox.prompts import Asked
from batchmill.sandbox.wires.openai.errors import LIMITED

UNBOUNDED_TOKENS: Final = 16

_WRITES: Final = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES})
_TITLES: Final[Mapping[Counted, str]] = {
    Counted.REQUESTS: "requests per min (RPM)",
    Counted.TOKENS: "tokens per min (TPM)",
}
_HEADERS: Final[Mapping[Counted, tuple[str, str, str]]] = {
    counted: (
        f"x-ratelimit-limit-{counted}",
        f"x-ratelimit-remaining-{counted}",
        f"x-ratelimit-reset-{counted}",
    )
    for counted in _TITLES
}


def demands(asked: Asked) -> Demands:
    """A request, and the most tokens it may come to."""
    return ((Counted.REQUESTS, 1), (Counted.TOKENS, bound_tokens(asked)))


def bound_tokens(asked: Asked) -> int:
    """The most tokens that a call may come to: its prompt and every answer at its longest."""
    prompt = count_input_tokens(asked.context)
    if asked.endpoint not in _WRITES:
        return prompt
    longest = UNBOUNDED_TOKENS if asked.max_tokens is None else asked.max_tokens
    return prompt + len(asked.prompts) * asked.choices * longest


def limit_headers(gauges: Iterable[Gauge]) -> Headers:
    """Each limit, what remains of it, and in how long all of it will."""
    headers: list[tuple[str, str]] = []
    for gauge in gauges:
        limit, remaining, reset = _HEADERS[gauge.counted]
        headers += (
            (limit, str(gauge.limit)),
            (remaining, str(gauge.remaining)),
            (reset, go_duration(whole_ms(gauge.empty_in_ns))),
        )
    return tuple(headers)


def too_much(excess: Excess) -> Complaint:
    """Too fast, and when to come again; or larger than the limit itself, and no time is named."""
    where = (
        f"for {excess.model} in organization org-sandbox on {_TITLES[excess.counted]}: Limit {excess.limit}"
    )
    if excess.wait_ns is None:
        message = (
            f"Request too large {where}, Requested {excess.requested}. "
            "The input or output tokens must be reduced in order to run successfully."
        )
        return Complaint(status=429, message=message, kind=excess.counted, code=LIMITED)
    wait_ms = excess.wait_ms
    message = (
        f"Rate limit reached {where}, Used {excess.used}, Requested {excess.requested}. "
        f"Please try again in {go_duration(wait_ms)}."
    )
    headers = (("retry-after-ms", str(wait_ms)), ("retry-after", str(-(-wait_ms // 1000))))
    return Complaint(status=429, message=message, kind=excess.counted, code=LIMITED, headers=headers)
