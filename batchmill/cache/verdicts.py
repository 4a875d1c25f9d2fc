"""How well the cache serves: four figures, each good, fair or poor by fixed bounds."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Verdict(StrEnum):
    """What is to be thought of a figure."""

    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"


class Figure(StrEnum):
    """What is judged."""

    HIT_RATE = "hit_rate"
    """Share of the requests that were answered without a call."""
    ERROR_RATE = "error_rate"
    """Share of the calls that brought no answer."""
    RESPONSE_S = "response_s"
    """Seconds that a request's calls took, on average; one answered without a call waited for none."""
    COST_USD = "cost_usd"
    """Dollars that a request cost, on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """From where on a figure is good, and from where on it is at least fair."""

    good: Decimal
    fair: Decimal
    is_more_better: bool = False

    def verdict(self, value: Decimal) -> Verdict:
        """The figure's; a bound itself is on the better side."""
        if self._reaches(value, self.good):
            return Verdict.GOOD
        return Verdict.FAIR if self._reaches(value, self.fair) else Verdict.POOR

    def _reaches(self, value: Decimal, bound: Decimal) -> bool:
        return value >= bound if self.is_more_better else value <= bound


BOUNDS: Mapping[Figure, Bounds] = {
    Figure.HIT_RATE: Bounds(good=Decimal("0.8"), fair=Decimal("0.6"), is_more_better=True),
    Figure.ERROR_RATE: Bounds(good=Decimal("0.01"), fair=Decimal("0.05")),
    Figure.RESPONSE_S: Bounds(good=Decimal(1), fair=Decimal(2)),
    Figure.COST_USD: Bounds(good=Decimal("0.001"), fair=Decimal("0.01")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What the figures are made of.

    Attributes:
        requests: Different ones.
        hits: Those answered without a call.
        calls: That ended.
        failed_calls: The part of them that brought no answer.
        latency_ms: Of all calls together.
        cost_nanos: Of all calls together, as far as it is known.
    """

    requests: int
    hits: int
    calls: int
    failed_calls: int
    latency_ms: int
    cost_nanos: int

    def figures(self) -> dict[Figure, Decimal | None]:
        """The figures; None of one that nothing is known of."""
        return {
            Figure.HIT_RATE: _ratio(self.hits, self.requests),
            Figure.ERROR_RATE: _ratio(self.failed_calls, self.calls),
            Figure.RESPONSE_S: _ratio(self.latency_ms, self.requests * 1_000),
            Figure.COST_USD: _ratio(self.cost_nanos, self.requests * 10**9),
        }


def _ratio(part: int, whole: int) -> Decimal | None:
    return Decimal(part) / whole if whole else None


def verdict_of(figure: Figure, value: Decimal | None) -> Verdict | None:
    """What is to be thought of it; None of what is not known."""
    return None if value is None else BOUNDS[figure].verdict(value)
