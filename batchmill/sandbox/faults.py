"""Faults on demand: a model named `sandbox/…` answers with the fault after the slash.

`FAULTS` is the whole list. `sandbox/flaky-N` fails the first N calls of each distinct prompt with a 500 and
answers afterwards. Any other model is answered. A fault is charged for on the bill when a real provider
may charge for it: the answer was made, and then lost or spoilt.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from batchmill.sandbox.outcomes import Answer, NoAnswer, Outcome, complaint
from batchmill.sandbox.prompts import Asked

PREFIX: Final = "sandbox/"
FLAKY: Final = "flaky-"
SHORT_TOKENS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to go wrong.

    Attributes:
        summary: What the client sees, for `--help`.
        spoil: Makes what is sent from the answer that was composed.
        billed: Whether the answer is charged for all the same.
        cut_at: Most tokens of each text; None leaves it whole.
    """

    summary: str
    spoil: Callable[[Answer], Outcome]
    billed: bool = False
    cut_at: int | None = None


def _fixed(outcome: Outcome) -> Callable[[Answer], Outcome]:
    return lambda _answer: outcome


def _half(answer: Answer) -> Outcome:
    return Answer(body=answer.body[: len(answer.body) // 2])


def _error(
    status: int, code: str | None, kind: str, message: str, **headers: str
) -> Callable[[Answer], Outcome]:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return _fixed(complaint(status, f"{message} (sandbox fault)", code=code, type=kind, headers=named))


def _plain(status: int, message: str, kind: str) -> Fault:
    return Fault(summary=f"HTTP {status}", spoil=_error(status, None, kind, message))


_INNER_ERROR: Final = Answer(
    body=b'{"error":{"code":502,"message":"Provider returned error (sandbox fault)"}}'
)

FAULTS: Final[Mapping[str, Fault]] = {
    "400": _plain(400, "Invalid request.", "invalid_request_error"),
    "401": Fault(
        summary="HTTP 401 invalid_api_key",
        spoil=_error(401, "invalid_api_key", "invalid_request_error", "Incorrect API key provided."),
    ),
    "402": _plain(402, "Insufficient credits.", "billing_error"),
    "403": _plain(403, "You are not allowed to do this.", "permission_error"),
    "404": Fault(
        summary="HTTP 404 model_not_found",
        spoil=_error(404, "model_not_found", "invalid_request_error", "The model does not exist."),
    ),
    "408": _plain(408, "Request timed out.", "server_error"),
    "409": _plain(409, "The resource is locked by another request.", "conflict_error"),
    "422": _plain(422, "Unprocessable entity.", "invalid_request_error"),
    "429": Fault(
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
    "500": _plain(500, "The server had an error.", "server_error"),
    "502": _plain(502, "Bad gateway.", "server_error"),
    "503": Fault(
        summary="HTTP 503 slow_down",
        spoil=_error(503, "slow_down", "server_error", "Slow down.", retry_after="1"),
    ),
    "504": _plain(504, "Gateway timeout.", "server_error"),
    "529": _plain(529, "Overloaded.", "overloaded_error"),
    "quota": Fault(
        summary="HTTP 429 insufficient_quota: no money left",
        spoil=_error(429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    ),
    "too-large": Fault(
        summary="HTTP 429 that no waiting cures: larger than the limit",
        spoil=_error(
            429,
            "rate_limit_exceeded",
            "tokens",
            "Request too large on tokens per min (TPM): Limit 30000, Requested 34307.",
        ),
    ),
    "200-error": Fault(summary="HTTP 200 with an error inside", spoil=_fixed(_INNER_ERROR)),
    "malformed": Fault(summary="HTTP 200 with half an answer; billed", spoil=_half, billed=True),
    "reset": Fault(
        summary="the connection is reset instead of an answer; billed",
        spoil=_fixed(NoAnswer.RESET),
        billed=True,
    ),
    "hang": Fault(summary="no answer, ever", spoil=_fixed(NoAnswer.HANG)),
    "length": Fault(
        summary=f"an answer cut at {SHORT_TOKENS} tokens, finish_reason length; billed as such",
        spoil=lambda answer: answer,
        billed=True,
        cut_at=SHORT_TOKENS,
    ),
}


class Faults:
    """Finds the fault that a call asks for, and counts what `flaky` has failed so far."""

    def __init__(self) -> None:
        self._failed: Counter[tuple[str, str]] = Counter()

    def of(self, asked: Asked) -> Fault | None:
        """The fault of this call; None when it is to be answered."""
        if not asked.model.startswith(PREFIX):
            return None
        name = asked.model.removeprefix(PREFIX)
        if name.startswith(FLAKY) and name.removeprefix(FLAKY).isdecimal():
            return self._flaky(asked, int(name.removeprefix(FLAKY)))
        return FAULTS.get(name)

    def _flaky(self, asked: Asked, failures: int) -> Fault | None:
        key = (asked.model, asked.prompt_sha256)
        if self._failed[key] >= failures:
            return None
        self._failed[key] += 1
        return FAULTS["500"]


def help_text() -> str:
    """Every fault, one a line."""
    width = max(len(name) for name in FAULTS)
    lines = [f"{PREFIX}{name:<{width}}  {fault.summary}" for name, fault in FAULTS.items()]
    flaky = f"{FLAKY}N"
    lines.append(f"{PREFIX}{flaky:<{width}}  HTTP 500 for the first N calls of each prompt, then answers")
    return "\n".join(lines)
