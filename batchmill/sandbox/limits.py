"""Rate limits: requests and tokens per minute, by model, counted when a call arrives.

What a call counts is told by its wire (`demands`): OpenAI's counts the prompt and the most it may be answered
with, and gives nothing back when the answer turns out shorter; Gemini's counts the prompt; Anthropic's counts the
prompt and, once it is known, what was really answered. Calls that fail count like those that are answered, and
so do calls that are refused (a client that keeps knocking keeps the window full, as OpenAI warns), unless they
are forgiven. A call larger than the whole limit counts as a request, its tokens do not count.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from batchmill.sandbox.outcomes import Complaint, Headers
from batchmill.sandbox.prompts import Asked
from batchmill.sandbox.windows import NANOS_PER_S, SlidingWindow

WINDOW_S: Final = 60.0

_NANOS_PER_MS: Final = 1_000_000


class Counted(StrEnum):
    """What a limit counts, as the wires' headers call it."""

    __hash__ = str.__hash__  # Enum's own is written in Python, and asked several times a call

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input-tokens"
    OUTPUT_TOKENS = "output-tokens"


Demands: TypeAlias = Sequence[tuple[Counted, int]]
"""How much a call counts. Output tokens of 0 are counted later; until then any room for them will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How much is let through in one window, for every model and for those that differ.

    Attributes:
        of_all: For each model that is not named; None for no limit.
        of_model: By model.
    """

    of_all: int | None = None
    of_model: Mapping[str, int] = field(default_factory=dict)

    def of(self, model: str) -> int | None:
        """The limit of one model; None when it has none."""
        return self.of_model.get(model, self.of_all)

    def __bool__(self) -> bool:
        return self.of_all is not None or bool(self.of_model)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRules:
    """What the sandbox lets through.

    Attributes:
        rpm: Requests in one window.
        tpm: Tokens in one window.
        itpm: Input tokens in one window, on Anthropic's wire.
        otpm: Output tokens in one window, on Anthropic's wire.
        window_s: How long a call counts; with providers a minute.
        per_second: Requests are also held to their part of a window for each second; below one a second, to
            one in as many seconds as it takes.
        forgive_refused: Calls that were refused do not count.
    """

    rpm: Allowance = field(default_factory=Allowance)
    tpm: Allowance = field(default_factory=Allowance)
    itpm: Allowance = field(default_factory=Allowance)
    otpm: Allowance = field(default_factory=Allowance)
    window_s: float = WINDOW_S
    per_second: bool = False
    forgive_refused: bool = False

    def __bool__(self) -> bool:
        return any((self.rpm, self.tpm, self.itpm, self.otpm))

    def allowances(self) -> Iterable[tuple[Counted, Allowance]]:
        """By what they count."""
        return zip(Counted, (self.rpm, self.tpm, self.itpm, self.otpm), strict=True)


class Gauge(NamedTuple):
    """How one limit stands.

    Attributes:
        limit: The most that fits into a window.
        remaining: What is left of it.
        empty_in_ns: Nanoseconds until all of it is left, if nothing else comes.
    """

    counted: Counted
    limit: int
    remaining: int
    empty_in_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """Which limit a call does not fit into.

    Attributes:
        requested: What the call counts.
        wait_ns: Nanoseconds until it fits, if nothing else comes; None when it never will.
    """

    model: str
    counted: Counted
    limit: int
    used: int
    requested: int
    wait_ns: int | None

    @property
    def wait_ms(self) -> int:
        """Whole milliseconds, rounded up; 0 when no wait helps."""
        return whole_ms(self.wait_ns or 0)


class Wording(Protocol):
    """How a wire counts, and what it tells about limits."""

    def demands(self, asked: Asked) -> Demands:
        """What the call counts when it comes."""
        ...

    def limit_headers(self, gauges: Iterable[Gauge]) -> Headers:
        """What every answer tells about the limits."""
        ...

    def too_much(self, excess: Excess) -> Complaint:
        """The refusal."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whether a call may come in.

    Attributes:
        refusal: What it is answered with instead; None when it may.
        headers: What every answer to it tells about the limits.
    """

    refusal: Complaint | None
    headers: Headers


NO_LIMITS: Final = Admission(refusal=None, headers=())


class Limits:
    """The windows of every model, made when the model is first called; a model's are the same on every wire."""

    def __init__(self, rules: LimitRules, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._rules = rules
        self._clock_ns = clock_ns
        self._models: dict[str, dict[Counted, _Limit]] = {}

    def admit(self, asked: Asked, wording: Wording) -> Admission:
        """Count a call that has just come, and say whether it may go on."""
        limits = self._models.get(asked.model)
        if limits is None:
            limits = self._models[asked.model] = _limits_of(asked.model, self._rules)
        if not limits:
            return NO_LIMITS
        now_ns = self._clock_ns()
        demands = []
        for counted, cost in wording.demands(asked):
            if (limit := limits.get(counted)) is not None:
                limit.slide_to(now_ns)
                demands.append((limit, cost))
        excess = self._judge(asked.model, demands)
        refusal = None if excess is None else wording.too_much(excess)
        return Admission(
            refusal=refusal, headers=wording.limit_headers([limit.gauge() for limit, _ in demands])
        )

    def settle(self, asked: Asked, wording: Wording, output_tokens: int) -> Headers:
        """Count what a call was answered with, whether it fits or not; what its answer tells after that."""
        limits = self._models.get(asked.model) or {}
        now_ns = self._clock_ns()
        for counted in (Counted.TOKENS, Counted.OUTPUT_TOKENS):
            if output_tokens and (limit := limits.get(counted)) is not None:
                limit.slide_to(now_ns)
                limit.enter(output_tokens)
        named = [counted for counted, _ in wording.demands(asked)]
        return wording.limit_headers([limits[counted].gauge() for counted in named if counted in limits])

    def statement(self) -> dict[str, Any]:
        """By model and limit: how high it is, the most that any window held, how many calls it refused."""
        return {
            model: figures
            for model, limits in sorted(self._models.items())
            if (figures := {limit.counted.value: limit.figures() for limit in limits.values() if limit.asked})
        }

    def _judge(self, model: str, demands: list[tuple["_Limit", int]]) -> Excess | None:
        """Enter what counts; the limit that has no room, or None when all of it fits."""
        if all(limit.fits(cost) for limit, cost in demands):
            for limit, cost in demands:
                limit.enter(cost)
            return None
        possible = [(limit, cost) for limit, cost in demands if cost <= limit.most]
        first, requested = next((limit, cost) for limit, cost in demands if not limit.fits(cost))
        if not self._rules.forgive_refused:
            for limit, cost in possible:
                limit.enter(cost)
        for limit, cost in demands:
            if cost > limit.most:
                return limit.refuse(model, cost, None)
        wait_ns = max(limit.wait_ns(cost) for limit, cost in possible)
        return first.refuse(model, requested, wait_ns)


class _Limit:
    """One limit of one model, and its windows: the long one, and perhaps one of a second."""

    def __init__(self, counted: Counted, *windows: SlidingWindow) -> None:
        self.counted = counted
        self.most = windows[0].limit
        self.asked = False
        self._windows = windows
        self._refused = 0

    def slide_to(self, now_ns: int) -> None:
        """Move every window."""
        self.asked = True
        for window in self._windows:
            window.slide_to(now_ns)

    def fits(self, cost: int) -> bool:
        """Whether every window has room for the cost now."""
        room = self._room_for(cost)
        return all(window.used + room <= window.limit for window in self._windows)

    def wait_ns(self, cost: int) -> int:
        """Until the cost fits into every window; 0 when it does."""
        return max(window.wait_ns(self._room_for(cost)) for window in self._windows)

    def enter(self, cost: int) -> None:
        """Count a cost in every window."""
        if cost or self.counted is not Counted.OUTPUT_TOKENS:
            for window in self._windows:
                window.enter(cost)

    def gauge(self) -> Gauge:
        """How the long window stands."""
        window = self._windows[0]
        return Gauge(
            counted=self.counted,
            limit=self.most,
            remaining=max(0, self.most - window.used),
            empty_in_ns=window.empty_in_ns(),
        )

    def refuse(self, model: str, cost: int, wait_ns: int | None) -> Excess:
        """The refusal's figures; the same call fits after the wait."""
        self._refused += 1
        return Excess(
            model=model,
            counted=self.counted,
            limit=self.most,
            used=min(self.most, self._windows[0].used),
            requested=cost,
            wait_ns=wait_ns,
        )

    def figures(self) -> dict[str, int]:
        """For the statement."""
        return {"limit": self.most, "most_in_a_window": self._windows[0].most, "refused": self._refused}

    def _room_for(self, cost: int) -> int:
        """Output is not known before it is made: it may come as long as the window is not full."""
        return 1 if self.counted is Counted.OUTPUT_TOKENS else cost


def _limits_of(model: str, rules: LimitRules) -> dict[Counted, _Limit]:
    span_ns = round(rules.window_s * NANOS_PER_S)
    limits = {}
    for counted, allowance in rules.allowances():
        if (most := allowance.of(model)) is not None:
            windows = [SlidingWindow(most, span_ns)]
            if counted is Counted.REQUESTS and rules.per_second:
                windows.append(_second(most, span_ns))
            limits[counted] = _Limit(counted, *windows)
    return limits


def _second(limit: int, span_ns: int) -> SlidingWindow:
    """A second's part of the limit, rounded down; one in as many seconds as it takes where that is none."""
    part = limit * NANOS_PER_S // span_ns
    return SlidingWindow(part, NANOS_PER_S) if part else SlidingWindow(1, -(-span_ns // limit))


def whole_ms(ns: int) -> int:
    """Milliseconds, rounded up."""
    return -(-ns // _NANOS_PER_MS)
