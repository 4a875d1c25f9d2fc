"""What was counted within the last minute, in all four dimensions at once.

`limiter.lua` does the same to the number; the conformance tests hold them against each other.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

US_PER_S: Final = 1_000_000
GUARD_US: Final = 50_000
"""What leaves us evenly arrives unevenly; so much later or earlier is allowed for."""
SPAN_US: Final = 60 * US_PER_S + GUARD_US
"""How long a cost counts."""

SLOT_US: Final = US_PER_S // 2
EXACT: Final = 256
"""So many calls are remembered each by itself; beyond, those of the same half second count with the last of them."""


@dataclass(slots=True)
class Window:
    """Costs by the moment they count from, oldest first; at most `EXACT` and one for each slot of the span.

    Conservative: what is merged counts from the latest of its moments.

    Attributes:
        at_us: The moments, some of them still to come.
        costs: For each dimension, what counts from each moment.
        used: The sums of those.
    """

    at_us: list[int] = field(default_factory=list)
    costs: list[list[int]] = field(default_factory=lambda: [[], [], [], []])
    used: list[int] = field(default_factory=lambda: [0, 0, 0, 0])

    def drop(self, now_us: int) -> None:
        """Let go of what no longer counts."""
        gone = bisect_left(self.at_us, now_us - SPAN_US + 1)
        if gone:
            del self.at_us[:gone]
            for d, costs in enumerate(self.costs):
                self.used[d] -= sum(costs[:gone])
                del costs[:gone]

    def enter(self, at_us: int, costs: Sequence[int]) -> None:
        """Count costs from a moment on; one earlier than the last counts with the next one after it."""
        place = bisect_left(self.at_us, at_us)
        if place == len(self.at_us):
            place = self._place_at_end(at_us)
        self._add(place, costs)

    def correct(self, at_us: int, more: Sequence[int]) -> None:
        """Add to what counts from a moment, or take away, never below nothing."""
        place = bisect_left(self.at_us, at_us)
        if place < len(self.at_us):
            bounded = [max(-costs[place], change) for costs, change in zip(self.costs, more, strict=True)]
            self._add(place, bounded)

    def used_at(self, dimension: int, at_us: int) -> int:
        """What of it all will still count at a moment."""
        return self.used[dimension] - sum(
            self.costs[dimension][: bisect_left(self.at_us, at_us - SPAN_US + 1)]
        )

    def left_us(self, dimension: int, surplus: int) -> int:
        """When so much of what counts will have left; it must not be more than all of it."""
        for at_us, cost in zip(self.at_us, self.costs[dimension], strict=True):
            surplus -= cost
            if surplus <= 0:
                return at_us + SPAN_US
        raise ValueError("more is to leave than there is")

    def _place_at_end(self, at_us: int) -> int:
        size = len(self.at_us)
        if size >= EXACT and self.at_us[-1] // SLOT_US == at_us // SLOT_US:
            self.at_us[-1] = at_us
            return size - 1
        self.at_us.append(at_us)
        for costs in self.costs:
            costs.append(0)
        return size

    def _add(self, place: int, more: Iterable[int]) -> None:
        for d, change in enumerate(more):
            self.costs[d][place] += change
            self.used[d] += change
