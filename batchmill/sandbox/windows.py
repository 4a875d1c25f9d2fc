"""A true sliding window: what was counted within the last so many seconds, exact to the call.

No buckets and no refill, so nothing is smoothed over: a call leaves the window exactly one span after it came.
"""

from array import array
from bisect import bisect_left
from typing import Final

NANOS_PER_S: Final = 1_000_000_000
MOST: Final = NANOS_PER_S
"""The highest limit: with it, the sums of nine thousand million full windows fit into 64 bits."""

_FEWEST_DROPPED: Final = 1024


class SlidingWindow:
    """Counts costs over a span of time that ends now; the span holds its start and not its end.

    Entering a cost is O(1) amortised, asking for a wait O(log n). Memory is 16 bytes for each cost entered
    within the last span.

    Args:
        limit: The most that fits into one span.
        span_ns: How long a cost counts.
    """

    def __init__(self, limit: int, span_ns: int) -> None:
        self.limit = limit
        self._span_ns = span_ns
        self._ends = array("q")  # when each cost leaves
        self._sums = array("q")  # everything entered so far, up to and including each
        self._first = 0
        self._entered = 0
        self._left = 0
        self.most = 0
        """The most that any span has held so far."""

    def used(self, now_ns: int) -> int:
        """What the span that ends now holds."""
        ends, first = self._ends, self._first
        while first < len(ends) and ends[first] <= now_ns:
            first += 1
        if first != self._first:
            self._left = self._sums[first - 1]
            self._first = first
            if first >= _FEWEST_DROPPED and 2 * first >= len(ends):
                self._drop()
        return self._entered - self._left

    def wait_ns(self, now_ns: int, cost: int) -> int:
        """Nanoseconds until the cost fits, if nothing else comes; 0 when it fits now.

        Raises:
            ValueError: It is more than the limit, and will never fit.
        """
        if cost > self.limit:
            raise ValueError(f"{cost} never fits into a window of {self.limit}")
        surplus = self.used(now_ns) + cost - self.limit
        if surplus <= 0:
            return 0
        return self._ends[bisect_left(self._sums, self._left + surplus, self._first)] - now_ns

    def empty_in_ns(self, now_ns: int) -> int:
        """Nanoseconds until the span holds nothing, if nothing else comes."""
        return self._ends[-1] - now_ns if self.used(now_ns) else 0

    def enter(self, now_ns: int, cost: int) -> None:
        """Count a cost from now on, whether it fits or not. Times must not go back."""
        used = self.used(now_ns) + cost
        self._entered += cost
        self._ends.append(now_ns + self._span_ns)
        self._sums.append(self._entered)
        self.most = max(self.most, used)

    def _drop(self) -> None:
        del self._ends[: self._first]
        del self._sums[: self._first]
        self._first = 0
