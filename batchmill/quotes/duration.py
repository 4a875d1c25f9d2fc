"""How long calls take, by what is known of the limits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What limits how fast calls are made.

    Attributes:
        concurrency: Calls in flight at most, over all processes.
        requests_per_min: None when it is not known.
        tokens_per_min: Input and output together; None when it is not known.
    """

    concurrency: int
    requests_per_min: int | None = None
    tokens_per_min: int | None = None


@dataclass(slots=True, kw_only=True)
class Load:
    """Calls to be made.

    Attributes:
        latency_ms: Theirs together, as if made one after the other; None when nobody knows how long they take.
    """

    calls: int = 0
    tokens: int = 0
    latency_ms: int | None = 0

    def add(self, *, calls: int, tokens: int, latency_ms: int | None) -> None:
        """Add calls that take so long each."""
        self.calls += calls
        self.tokens += tokens
        if latency_ms is None and calls:
            self.latency_ms = None
        elif self.latency_ms is not None:
            self.latency_ms += calls * (latency_ms or 0)

    def duration_s(self, pace: Pace) -> float | None:
        """How long they take: as the tightest of the limits has it; None when none is known.

        Where the latency is not known, it may take longer than the other limits say.
        """
        if not self.calls:
            return 0.0
        bounds_s = []
        if self.latency_ms is not None:
            waves = max(self.latency_ms / pace.concurrency, self.latency_ms / self.calls)
            bounds_s.append(waves / 1000)
        if pace.requests_per_min:
            bounds_s.append(60 * self.calls / pace.requests_per_min)
        if pace.tokens_per_min:
            bounds_s.append(60 * self.tokens / pace.tokens_per_min)
        return max(bounds_s, default=None)
