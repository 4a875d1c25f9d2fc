"""Rate limits as OpenAI's wire has them: requests and tokens per minute, by model, counted when a call arrives.

A call's tokens are those of its prompt and the most it may be answered with, `max_tokens` × `n`; a call that
does not bound its answer counts `UNBOUNDED_TOKENS` for each choice, the default of the completions endpoint.
Nothing is given back when the answer turns out shorter. Calls that fail count like those that are answered,
and so do calls that are refused (a client that keeps knocking keeps the window full, as OpenAI warns), unless
they are forgiven. A call larger than the whole limit counts as a request, its tokens do not count.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from batchmill.requests.model import Endpoint
from batchmill.sandbox.compose import count_input_tokens
from batchmill.sandbox.outcomes import Answer, complaint
from batchmill.sandbox.prompts import Asked
from batchmill.sandbox.windows import NANOS_PER_S, SlidingWindow

UNBOUNDED_TOKENS: Final = 16
WINDOW_S: Final = 60.0

_WRITES: Final = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES})
_NANOS_PER_MS: Final = 1_000_000

LIMITED: Final = "rate_limit_exceeded"

Headers = tuple[tuple[str, str], ...]


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
        window_s: How long a call counts; with providers a minute.
        per_second: Requests are also held to their part of a window for each second; below one a second, to
            one in as many seconds as it takes.
        forgive_refused: Calls that were refused do not count.
    """

    rpm: Allowance = field(default_factory=Allowance)
    tpm: Allowance = field(default_factory=Allowance)
    window_s: float = WINDOW_S
    per_second: bool = False
    forgive_refused: bool = False

    def __bool__(self) -> bool:
        return bool(self.rpm) or bool(self.tpm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whether a call may come in.

    Attributes:
        refusal: What it is answered with instead; None when it may.
        headers: What every answer to it tells about the limits.
    """

    refusal: Answer | None
    headers: Headers


NO_LIMITS: Final = Admission(refusal=None, headers=())


class Limits:
    """The windows of every model, made when the model is first called."""

    def __init__(self, rules: LimitRules, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._rules = rules
        self._clock_ns = clock_ns
        self._models: dict[str, tuple[_Limit, ...]] = {}

    def admit(self, asked: Asked) -> Admission:
        """Count a call that has just come, and say whether it may go on."""
        limits = self._models.get(asked.model)
        if limits is None:
            limits = self._models[asked.model] = _limits_of(asked.model, self._rules)
        if not limits:
            return NO_LIMITS
        now_ns = self._clock_ns()
        demands = []
        for limit in limits:
            limit.slide_to(now_ns)
            demands.append((limit, bound_tokens(asked) if limit.counts_tokens else 1))
        refusal = self._judge(asked.model, demands)
        headers = [header for limit in limits for header in limit.headers()]
        return Admission(refusal=refusal, headers=tuple(headers))

    def statement(self) -> dict[str, Any]:
        """By model and limit: how high it is, the most that any window held, how many calls it refused."""
        return {
            model: {limit.name: limit.figures() for limit in limits}
            for model, limits in sorted(self._models.items())
            if limits
        }

    def _judge(self, model: str, demands: list[tuple["_Limit", int]]) -> Answer | None:
        """Enter what counts; the refusal, or None when all of it fits."""
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
                return limit.refuse_for_good(model, cost)
        wait_ns = max(limit.wait_ns(cost) for limit, cost in possible)
        return first.refuse(model, requested, wait_ns)


class _Limit:
    """One limit of one model, and its windows: the long one, and perhaps one of a second."""

    def __init__(self, name: str, title: str, *windows: SlidingWindow) -> None:
        self.name = name
        self.counts_tokens = name == "tokens"
        self.most = windows[0].limit
        self._limit_header = (f"x-ratelimit-limit-{name}", str(self.most))
        self._remaining = f"x-ratelimit-remaining-{name}"
        self._reset = f"x-ratelimit-reset-{name}"
        self._title = title
        self._windows = windows
        self._refused = 0

    def slide_to(self, now_ns: int) -> None:
        """Move every window."""
        for window in self._windows:
            window.slide_to(now_ns)

    def fits(self, cost: int) -> bool:
        """Whether every window has room for the cost now."""
        return all(window.used + cost <= window.limit for window in self._windows)

    def wait_ns(self, cost: int) -> int:
        """Until the cost fits into every window; 0 when it does."""
        return max(window.wait_ns(cost) for window in self._windows)

    def enter(self, cost: int) -> None:
        """Count a cost in every window."""
        for window in self._windows:
            window.enter(cost)

    def headers(self) -> Headers:
        """The limit, what remains of it, and in how long all of it will."""
        window = self._windows[0]
        return (
            self._limit_header,
            (self._remaining, str(max(0, self.most - window.used))),
            (self._reset, go_duration(_whole_ms(window.empty_in_ns()))),
        )

    def refuse(self, model: str, cost: int, wait_ns: int) -> Answer:
        """Too fast; the same call fits after the wait."""
        self._refused += 1
        wait_ms = _whole_ms(wait_ns)
        used = min(self.most, self._windows[0].used)
        message = (
            f"Rate limit reached for {model} in organization org-sandbox on {self._title}: Limit {self.most}, "
            f"Used {used}, Requested {cost}. Please try again in {go_duration(wait_ms)}."
        )
        headers = (("retry-after-ms", str(wait_ms)), ("retry-after", str(-(-wait_ms // 1000))))
        return complaint(429, message, code=LIMITED, type=self.name, headers=headers)

    def refuse_for_good(self, model: str, cost: int) -> Answer:
        """Larger than the limit itself: no waiting helps, so none is asked for."""
        self._refused += 1
        message = (
            f"Request too large for {model} in organization org-sandbox on {self._title}: Limit {self.most}, "
            f"Requested {cost}. The input or output tokens must be reduced in order to run successfully."
        )
        return complaint(429, message, code=LIMITED, type=self.name)

    def figures(self) -> dict[str, int]:
        """For the statement."""
        return {"limit": self.most, "most_in_a_window": self._windows[0].most, "refused": self._refused}


def bound_tokens(asked: Asked) -> int:
    """The most tokens that a call may come to: its prompt and every answer at its longest."""
    prompt = count_input_tokens(asked.context)
    if asked.endpoint not in _WRITES:
        return prompt
    longest = UNBOUNDED_TOKENS if asked.max_tokens is None else asked.max_tokens
    return prompt + len(asked.prompts) * asked.choices * longest


@lru_cache(maxsize=1024)
def go_duration(ms: int) -> str:
    """Milliseconds as Go writes a duration: `0s`, `12ms`, `1.146s`, `6m0s`, `1h0m0.5s`."""
    if 0 < ms < 1000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    seconds = f"{ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _limits_of(model: str, rules: LimitRules) -> tuple[_Limit, ...]:
    span_ns = round(rules.window_s * NANOS_PER_S)
    limits = []
    if (rpm := rules.rpm.of(model)) is not None:
        windows = [SlidingWindow(rpm, span_ns)]
        if rules.per_second:
            windows.append(_second(rpm, span_ns))
        limits.append(_Limit("requests", "requests per min (RPM)", *windows))
    if (tpm := rules.tpm.of(model)) is not None:
        limits.append(_Limit("tokens", "tokens per min (TPM)", SlidingWindow(tpm, span_ns)))
    return tuple(limits)


def _second(limit: int, span_ns: int) -> SlidingWindow:
    """A second's part of the limit, rounded down; one in as many seconds as it takes where that is none."""
    part = limit * NANOS_PER_S // span_ns
    return SlidingWindow(part, NANOS_PER_S) if part else SlidingWindow(1, -(-span_ns // limit))


def _whole_ms(ns: int) -> int:
    return -(-ns // _NANOS_PER_MS)
