"""The tally: counts of one process, as cheap as counting can be; taken away now and then by whoever tells them."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from batchmill.metering.family import Family, Kind

Labels = tuple[str, ...]

MOST_SERIES: Final = 5_000
"""Of one family: what labels hold is bounded where they are made; should that fail one day, this holds."""


class Count:
    """A number that goes up, or up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Spread:
    """How many observations fell between which bounds, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def note(self, value: float) -> None:
        """Count an observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Tally:
    """Counts by family and labels. A series that was handed out stays the same for ever; not shared between threads."""

    def __init__(self) -> None:
        self._counts: dict[Family, dict[Labels, Count]] = {}
        self._spreads: dict[Family, dict[Labels, Spread]] = {}

    def count(self, family: Family, *labels: str) -> Count:
        """A series of a counter or a gauge, to be kept and counted up by whoever needs it often."""
        series = self._counts.setdefault(family, {})
        found = series.get(labels)
        if found is None:
            found = Count()
            if len(series) < MOST_SERIES:
                series[labels] = found
        return found

    def spread(self, family: Family, *labels: str) -> Spread:
        """A series of a histogram, likewise."""
        series = self._spreads.setdefault(family, {})
        found = series.get(labels)
        if found is None:
            found = Spread(family.buckets)
            if len(series) < MOST_SERIES:
                series[labels] = found
        return found

    def taken_counts(self) -> Iterator[tuple[Family, Labels, float]]:
        """What was counted since this was last called, and how gauges stand now."""
        for family, series in self._counts.items():
            is_counter = family.kind is Kind.COUNTER
            for labels, count in series.items():
                if count.value or not is_counter:
                    yield family, labels, count.value
                    if is_counter:
                        count.value = 0.0

    def taken_spreads(self) -> Iterator[tuple[Family, Labels, list[int], float]]:
        """What was observed since this was last called: how often between which bounds, and the sum."""
        for family, series in self._spreads.items():
            for labels, spread in series.items():
                if any(spread.counts):
                    yield family, labels, spread.counts, spread.total
                    spread.counts, spread.total = [0] * len(spread.counts), 0.0
