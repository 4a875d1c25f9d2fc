"""What an answer is worth keeping for, and where the line is drawn."""

import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.cache.room import Ranks, Room, Size, filled
from batchmill.cache.verdicts import Figure, Sums, Verdict, verdict_of
from batchmill.cache.worth import HALF_LIFE_MS, RANKS_A_DOUBLING, nanos_per_kb, rank_of
from db.cache_drops import ENTRIES_A_STEP, LEAST_A_STEP, REST, Pace

ANY: dict[str, Any] = {
    "answer_bytes": 1_000,
    "cost_nanos": 100_000,
    "uses": 2,
    "idle_ms": HALF_LIFE_MS,
    "rating": None,
}
DAY_MS = HALF_LIFE_MS // 7


@pytest.mark.parametrize(
    "better",
    [
        {"cost_nanos": 120_000},
        {"answer_bytes": 800},
        {"uses": 3},
        {"idle_ms": HALF_LIFE_MS - DAY_MS},
        {"rating": 4.0},
        {"rating": 3.5},
    ],
    ids=str,
)
def test_what_raises_an_answers_worth(better):
    """What was dearer, is smaller, is used more, was used lately or is rated well stays longer."""
    assert rank_of(**ANY | better) > rank_of(**ANY)


@pytest.mark.parametrize("worse", [{"rating": 2.0}, {"idle_ms": 30 * DAY_MS}, {"cost_nanos": None}], ids=str)
def test_what_lowers_it(worse):
    """A poor rating, long idleness, and a price that nobody knows."""
    assert rank_of(**ANY | worse) < rank_of(**ANY)


def test_a_week_without_use_halves_it():
    """So does a rating of one point less; uses count as they are, the call itself being the first."""
    half = rank_of(**ANY) - RANKS_A_DOUBLING
    assert rank_of(**ANY | {"idle_ms": 2 * HALF_LIFE_MS}) == half
    assert rank_of(**ANY | {"rating": 2}) == half
    assert rank_of(**ANY | {"uses": 5}) == half + 2 * RANKS_A_DOUBLING
    assert nanos_per_kb(half + RANKS_A_DOUBLING) == pytest.approx(2 * nanos_per_kb(half))


@given(
    answer_bytes=st.integers(0, 10**9),
    cost_nanos=st.none() | st.integers(-10, 2**62),
    uses=st.integers(-1, 2**62),
    idle_ms=st.integers(-(10**15), 10**15),
    rating=st.none() | st.floats(-5, 10),
)
def test_everything_has_a_rank(**facts):
    """Free answers, empty ones, clocks that went back: nothing has no worth, and nothing makes it fail."""
    assert isinstance(rank_of(**facts), int)


sizes = st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 3_000)), max_size=60)


@given(answers=sizes, room=st.builds(Room, max_entries=st.integers(0, 60), max_bytes=st.integers(0, 60_000)))
def test_the_line_is_where_enough_goes(answers, room):
    """What is left fits, with a tenth to spare of the limit that was passed; what keeps its limits loses nothing; all
    that goes is worth no more than all that stays; and one answer less would have been too little."""
    held = Size(entries=len(answers), answer_bytes=sum(size for _, size in answers))
    ranks = Ranks()
    for rank, size in answers:
        ranks.add(rank, size)
    cut = ranks.cut(room.surplus(held))
    is_over = 0 < room.max_entries < held.entries or 0 < room.max_bytes < held.answer_bytes
    assert (cut is not None) == is_over
    if cut is None:
        return
    random.Random(7).shuffle(answers)
    gone = [(rank, size) for rank, size in answers if cut.takes(rank, size)]
    left = Size(
        entries=held.entries - len(gone), answer_bytes=held.answer_bytes - sum(size for _, size in gone)
    )
    if 0 < room.max_entries < held.entries:
        assert left.entries <= filled(room.max_entries)
    if 0 < room.max_bytes < held.answer_bytes:
        assert left.answer_bytes <= filled(room.max_bytes)
    kept = list(answers)
    for one in gone:
        kept.remove(one)
    highest = max(rank for rank, _ in gone)
    assert all(rank >= highest for rank, _ in kept)
    last = [size for rank, size in gone if rank == highest][-1]
    surplus = room.surplus(held)
    before = Size(entries=len(gone) - 1, answer_bytes=sum(size for _, size in gone) - last)
    assert not before.covers(surplus)


@pytest.mark.parametrize(
    ("figure", "value", "verdict"),
    [
        (Figure.HIT_RATE, "0.8", Verdict.GOOD),
        (Figure.HIT_RATE, "0.799", Verdict.FAIR),
        (Figure.HIT_RATE, "0.6", Verdict.FAIR),
        (Figure.HIT_RATE, "0.599", Verdict.POOR),
        (Figure.ERROR_RATE, "0.01", Verdict.GOOD),
        (Figure.ERROR_RATE, "0.011", Verdict.FAIR),
        (Figure.ERROR_RATE, "0.051", Verdict.POOR),
        (Figure.RESPONSE_S, "1", Verdict.GOOD),
        (Figure.RESPONSE_S, "1.001", Verdict.FAIR),
        (Figure.RESPONSE_S, "2.001", Verdict.POOR),
        (Figure.COST_USD, "0.001", Verdict.GOOD),
        (Figure.COST_USD, "0.01", Verdict.FAIR),
        (Figure.COST_USD, "0.010000001", Verdict.POOR),
    ],
)
def test_bounds_of_the_verdicts(figure, value, verdict):
    """A bound itself is on the better side."""
    assert verdict_of(figure, Decimal(value)) is verdict


def test_figures_of_what_is_not_known():
    """Without a request there is no figure, and so no verdict."""
    nothing = Sums(requests=0, hits=0, calls=0, failed_calls=0, latency_ms=0, cost_nanos=0)
    assert set(nothing.figures().values()) == {None}
    assert verdict_of(Figure.HIT_RATE, None) is None


def test_figures_are_for_each_request():
    """Ten requests, four of them hits, one call failed and was made again: seven calls."""
    sums = Sums(requests=10, hits=4, calls=7, failed_calls=1, latency_ms=14_000, cost_nanos=60_000_000)
    assert sums.figures() == {
        Figure.HIT_RATE: Decimal("0.4"),
        Figure.ERROR_RATE: Decimal(1) / 7,
        Figure.RESPONSE_S: Decimal("1.4"),
        Figure.COST_USD: Decimal("0.006"),
    }


def test_steps_are_as_large_as_they_are_quick(monkeypatch):
    """Slow ones get smaller, down to a few entries; quick ones larger again. After each, others have more time than it
    took."""
    paused: list[float] = []
    pace = Pace(paused.append)
    monkeypatch.setattr("db.cache_drops.LONG_S", 0.0)
    for size in (ENTRIES_A_STEP, ENTRIES_A_STEP // 2, ENTRIES_A_STEP // 4, ENTRIES_A_STEP // 8):
        assert pace.size == size
        with pace:
            pass
    assert pace.size == LEAST_A_STEP
    monkeypatch.setattr("db.cache_drops.LONG_S", 1e9)
    for _ in range(8):
        with pace:
            pass
    assert pace.size == ENTRIES_A_STEP
    assert pace.steps == len(paused) == 12
    assert max(paused) == pytest.approx(pace.longest_s * REST)
