"""The faults: what goes wrong, and who pays for it. Which call meets one is decided in `draws.py`.

`FAULTS` is the whole list. A fault is charged for on the bill when a real provider may charge for it: the
answer was made, and then lost or spoilt.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from batchmill.sandbox.outcomes import Answer, NoAnswer, Outcome

SHORT_TOKENS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to go wrong.

    Attributes:
        name: What it is asked for by.
        summary: What the client sees, for `--help`.
        spoil: Makes what is sent from the answer that was composed; None where the wire's own error of that name
            is sent instead, from its table.
        billed: Whether the answer is charged for all the same.
        cut_at: Most tokens of each text; None leaves it whole.
        drips: Whether the answer trickles out, over the time that the sandbox was told.
    """

    name: str
    summary: str
    spoil: Callable[[Answer], Outcome] | None = None
    billed: bool = False
    cut_at: int | None = None
    drips: bool = False


def _fixed(outcome: Outcome) -> Callable[[Answer], Outcome]:
    return lambda _answer: outcome


def _whole(answer: Answer) -> Outcome:
    return answer


def _half(answer: Answer) -> Outcome:
    return replace(answer, body=answer.body[: len(answer.body) // 2])


def _broken(answer: Answer) -> Outcome:
    return replace(answer, break_after=len(answer.body) // 2)


def _error(name: str, summary: str = "") -> Fault:
    return Fault(name=name, summary=summary or f"HTTP {name}")


_TABLE: Final = (
    _error("400"),
    _error("401", "HTTP 401: the key is not accepted"),
    _error("402"),
    _error("403"),
    _error("404", "HTTP 404: no such model"),
    _error("408"),
    _error("409"),
    _error("422"),
    _error("429", "HTTP 429: too fast, welcome again in 0.2 s (Anthropic: 1 s)"),
    _error("500"),
    _error("502"),
    _error("503", "HTTP 503: slow down"),
    _error("504"),
    _error("529"),
    _error("quota", "HTTP 429: no money left"),
    _error("too-large", "larger than the limit, no waiting cures it: HTTP 429 (Anthropic 413, Gemini 400)"),
    _error("200-error", "HTTP 200 with an error inside"),
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
        summary=f"an answer cut at {SHORT_TOKENS} tokens; billed as such",
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
