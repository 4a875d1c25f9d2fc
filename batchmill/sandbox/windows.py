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
    """Counts costs over a span of time; the span ends where the window was last slid to, and begins just after
    what came a whole span before that.

    Sliding and entering are O(1) amortised, asking for a wait O(log n). Memory is 16 bytes for each cost
    entered within the last span.

    Args:
        limit: The most that fits into one span.
        span_ns: How long a cost counts.
    """

    def __init__(self, limit: int, span_ns: int) -> None:
        self.limit = limit
        self.used = 0
        """What the span holds."""
        self.most = 0
        """The most that it ever held."""
        self._span_ns = span_ns
        self._now_ns = 0
        self._ends = array("q")  # when each cost leaves
        self._sums = array("q")  # all that was entered so far, each cost included
        self._first = 0
        self._entered = 0

    def slide_to(self, now_ns: int) -> None:
        """Let go of what has left by now. Times must not go back."""
        self._now_ns = now_ns
        ends, first = self._ends, self._first
        while first < len(ends) and ends[first] <= now_ns:
            first += 1
        if first != self._first:
            self.used = self._entered - self._sums[first - 1]
            self._first = first
            if first >= _FEWEST_DROPPED and 2 * first >= len(ends):
                self._drop()

    def enter(self, cost: int) -> None:
        """Count a cost from now on, whether it fits or not."""
        self._entered += cost
        self._ends.append(self._now_ns + self._span_ns)
        self._sums.append(self._entered)
        self.used += cost
        if self.used > self.most:
            self.most = self.used

    def wait_ns(self, cost: int) -> int:
        """Nanoseconds until the cost fits, if nothing else comes; 0 when it fits now.

        Raises:
            ValueError: It is more than the limit, and will never fit.
        """
        surplus = self.used + cost - self.limit
        if surplus <= 0:
            return 0
        if cost > self.limit:
            raise ValueError(f"{cost} never fits into a window of {self.limit}")
        left = self._entered - self.used
        return self._ends[bisect_left(self._sums, left + surplus, self._first)] - self._now_ns

    def empty_in_ns(self) -> int:
        """Nanoseconds until the span holds nothing, if nothing else comes."""
        return self._ends[-1] - self._now_ns if self.used else 0

    def _drop(self) -> None:
        del self._ends[: self._first]
        del self._sums[: self._first]
        self._first = 0
