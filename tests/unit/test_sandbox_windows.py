"""The sandbox's sliding window against the plain definition of one."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.sandbox.windows import SlidingWindow

SPAN = 60
arrivals = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 12)), max_size=80)


@dataclass(frozen=True)
class Counted:
    at: int
    cost: int


def held(counted: list[Counted], now: int) -> int:
    """What the span that ends now holds, by definition: all that came less than a span ago."""
    return sum(c.cost for c in counted if c.at <= now < c.at + SPAN)


@given(arrivals, st.integers(1, 30))
def test_no_span_holds_more_than_the_limit(gaps: list[tuple[int, int]], limit: int) -> None:
    """Whatever comes whenever, of what was let through no span holds too much; what was not had no room."""
    window, let_through, now = SlidingWindow(limit, SPAN), [], 0
    for gap, cost in gaps:
        now += gap
        window.slide_to(now)
        fits = cost <= limit and window.wait_ns(cost) == 0
        assert fits == (held(let_through, now) + cost <= limit)
        if fits:
            window.enter(cost)
            let_through.append(Counted(now, cost))
    spans = [held(let_through, counted.at) for counted in let_through]
    assert max(spans, default=0) <= limit
    assert window.most == max(spans, default=0)


@given(arrivals, st.integers(1, 30), st.integers(1, 30))
def test_wait_is_exact(gaps: list[tuple[int, int]], limit: int, cost: int) -> None:
    """After the wait there is room, just before it there is none, also where more was counted than fits."""
    cost = min(cost, limit)
    window, counted, now = SlidingWindow(limit, SPAN), [], 0
    for gap, entered in gaps:
        now += gap
        window.slide_to(now)
        assert window.used == held(counted, now)
        wait = window.wait_ns(cost)
        assert held(counted, now + wait) + cost <= limit
        assert wait == 0 or held(counted, now + wait - 1) + cost > limit
        window.enter(entered)
        counted.append(Counted(now, entered))
    empty = window.empty_in_ns()
    assert held(counted, now + empty) == 0
    assert empty == 0 or any(c.at + SPAN == now + empty for c in counted)


def test_what_can_never_fit_has_no_wait() -> None:
    """More than the limit is an error, not a long wait."""
    with pytest.raises(ValueError, match="11 never fits into a window of 10"):
        SlidingWindow(10, SPAN).wait_ns(11)


def test_memory_is_that_of_one_span() -> None:
    """After a hundred thousand costs it holds those of the last spans only, and still counts right."""
    window = SlidingWindow(1000, 1000)
    for now in range(100_000):
        window.slide_to(now)
        window.enter(1)
    assert window.used == window.most == 1000
    assert len(window._ends) == len(window._sums) < 5000
    window.slide_to(100_500)
    assert (window.used, window.wait_ns(500), window.wait_ns(501)) == (499, 0, 0)
    assert window.wait_ns(502) == 1
