"""The faults: what goes wrong, and who pays for it. Which call meets one is decided in `draws.py`.

`FAULTS` is the whole list. A fault is charged for on the bill when a real provider may charge for it: the
answer was made, and then lost or spoilt.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from batchmill.sandbox.outcomes import Answer, NoAnswer, Outcome, complaint

SHORT_TOKENS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to go wrong.

    Attributes:
        name: What it is asked for by.
        summary: What the client sees, for `--help`.
        spoil: Makes what is sent from the answer that was composed.
        billed: Whether the answer is charged for all the same.
        cut_at: Most tokens of each text; None leaves it whole.
        drips: Whether the answer trickles out, over the time that the sandbox was told.
    """

    name: str
    summary: str
    spoil: Callable[[Answer], Outcome]
    billed: bool = False
    cut_at: int | None = None
    drips: bool = False


def _fixed(outcome: Outcome) -> Callable[[Answer], Outcome]:
    return lambda _answer: outcome


def _whole(answer: Answer) -> Outcome:
    return answer


def _half(answer: Answer) -> Outcome:
    return Answer(body=answer.body[: len(answer.body) // 2])


def _broken(answer: Answer) -> Outcome:
    return replace(answer, break_after=len(answer.body) // 2)


def _error(
    status: int, code: str | None, kind: str, message: str, **headers: str
) -> Callable[[Answer], Outcome]:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return _fixed(complaint(status, f"{message} (sandbox fault)", code=code, type=kind, headers=named))


def _plain(status: int, message: str, kind: str) -> Fault:
    return Fault(name=str(status), summary=f"HTTP {status}", spoil=_error(status, None, kind, message))


_INNER_ERROR: Final = Answer(
    body=b'{"error":{"code":502,"message":"Provider returned error (sandbox fault)"}}'
)

_TABLE: Final = (
    _plain(400, "Invalid request.", "invalid_request_error"),
    Fault(
        name="401",
        summary="HTTP 401 invalid_api_key",
        spoil=_error(401, "invalid_api_key", "invalid_request_error", "Incorrect API key provided."),
    ),
    _plain(402, "Insufficient credits.", "billing_error"),
    _plain(403, "You are not allowed to do this.", "permission_error"),
    Fault(
        name="404",
        summary="HTTP 404 model_not_found",
        spoil=_error(404, "model_not_found", "invalid_request_error", "The model does not exist."),
    ),
    _plain(408, "Request timed out.", "server_error"),
    _plain(409, "The resource is locked by another request.", "conflict_error"),
    _plain(422, "Unprocessable entity.", "invalid_request_error"),
    Fault(
        name="429",
        summary="HTTP 429 rate_limit_exceeded, welcome again in 0.2 s",
        spoil=_error(
            429,
            "rate_limit_exceeded",
            "requests",
            "Rate limit reached on requests per min (RPM): Limit 500, Used 500, Requested 1. "
            "Please try again in 200ms.",
            retry_after_ms="200",
            x_ratelimit_limit_requests="500",
            x_ratelimit_remaining_requests="0",
            x_ratelimit_reset_requests="200ms",
        ),
    ),
    _plain(500, "The server had an error.", "server_error"),
    _plain(502, "Bad gateway.", "server_error"),
    Fault(
        name="503",
        summary="HTTP 503 slow_down",
        spoil=_error(503, "slow_down", "server_error", "Slow down.", retry_after="1"),
    ),
    _plain(504, "Gateway timeout.", "server_error"),
    _plain(529, "Overloaded.", "overloaded_error"),
    Fault(
        name="quota",
        summary="HTTP 429 insufficient_quota: no money left",
        spoil=_error(429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    ),
    Fault(
        name="too-large",
        summary="HTTP 429 that no waiting cures: larger than the limit",
        spoil=_error(
            429,
            "rate_limit_exceeded",
            "tokens",
            "Request too large on tokens per min (TPM): Limit 30000, Requested 34307.",
        ),
    ),
    Fault(name="200-error", summary="HTTP 200 with an error inside", spoil=_fixed(_INNER_ERROR)),
    Fault(name="malformed", summary="HTTP 200 with half an answer; billed", spoil=_half, billed=True),
    Fault(
        name="truncated",
        summary="the connection closes half-way through an answer; billed",
        spoil=_broken,
        billed=True,
    ),
    Fault(
        name="drip",
        summary="the answer comes byte by byte, over the time of --drip-time; billed",
        spoil=_whole,
        billed=True,
        drips=True,
    ),
    Fault(
        name="reset-before",
        summary="the connection is reset before anything was done",
        spoil=_fixed(NoAnswer.RESET),
    ),
    Fault(
        name="reset-after",
        summary="the connection is reset instead of an answer; billed",
        spoil=_fixed(NoAnswer.RESET),
        billed=True,
    ),
    Fault(name="timeout", summary="no answer, ever", spoil=_fixed(NoAnswer.HANG)),
    Fault(
        name="length",
        summary=f"an answer cut at {SHORT_TOKENS} tokens, finish_reason length; billed as such",
        spoil=_whole,
        billed=True,
        cut_at=SHORT_TOKENS,
    ),
)

FAULTS: Final[Mapping[str, Fault]] = {fault.name: fault for fault in _TABLE}

SAME_AS: Final[Mapping[str, str]] = {"reset": "reset-after", "hang": "timeout"}
"""Shorter names for some of them."""


def find_fault(name: str) -> Fault | None:
    """The fault of this name; None when there is none."""
    return FAULTS.get(SAME_AS.get(name, name))


def help_text() -> str:
    """Every fault, one a line."""
    lines = {name: fault.summary for name, fault in FAULTS.items()}
    lines |= {name: f"the same as {other}" for name, other in SAME_AS.items()}
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {summary}" for name, summary in lines.items())
