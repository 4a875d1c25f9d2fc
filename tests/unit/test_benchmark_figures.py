"""The benchmark's figures: what is said of them is what they say."""

import pytest

from benchmarks.figures import AtLeast, AtMost, Part, figures_of, number
from benchmarks.parts.beside import CPU, FASTER, OURS, PACE, THRIFTIER, ratios
from benchmarks.parts.utilisation import steady_calls_a_second
from benchmarks.peers.roster import LOOP
from benchmarks.runs import settled_per_s
from benchmarks.store import Store


def test_the_median_of_the_rounds_is_judged():
    """One slow round does not make a miss, and one quick one no hit."""
    rounds = [{"SQLite: answered, req/s": value} for value in (100.0, 2_100.0, 2_200.0)]
    (figure,) = figures_of(Part.UNIQUE, rounds, {"SQLite: answered, req/s": AtLeast(2_000)})
    assert (figure.name, figure.unit, figure.value, figure.verdict) == (
        "SQLite: answered",
        "req/s",
        2_100.0,
        "met",
    )


@pytest.mark.parametrize(("value", "verdict"), [(0.5, "met"), (0.51, "MISSED")])
def test_a_most_is_met_up_to_itself(value, verdict):
    """A target of at most 0.5 is met by 0.5."""
    (figure,) = figures_of(
        Part.UNIQUE, [{"worker, ms CPU a request": value}], {"worker, ms CPU a request": AtMost(0.5)}
    )
    assert figure.verdict == verdict


def test_ratios_compare_like_with_like():
    """Our pace over theirs, their processor time over that of all our processes; of whoever came to an end."""
    ours, theirs = {PACE: 2_000.0, CPU: 0.4}, {PACE: 400.0, CPU: 2.0}
    found = ratios({OURS[Store.SQLITE]: ours, LOOP.name: theirs})
    assert found == {
        FASTER.format(LOOP.name, OURS[Store.SQLITE]): 5.0,
        THRIFTIER.format(LOOP.name, OURS[Store.SQLITE]): 5.0,
    }


def test_the_steady_part_is_counted_alone():
    """Ten slots of a second each, all in use: ten calls a second, whatever begins slowly and ends thinly."""
    times_ms = [
        (100 * slot + 1_000 * turn, 100 * slot + 1_000 * (turn + 1))
        for turn in range(20)
        for slot in range(10)
    ]
    assert steady_calls_a_second(times_ms, longest_s=1.0) == pytest.approx(10.0, rel=0.01)


@pytest.mark.parametrize(
    ("commits", "pace"),
    [
        ([(0, 100), (50, 100), (100, 100)], 2_000.0),
        ([(0, 100), (50, 100), (100, 1)], 2_000.0),
        ([(9_000, 30), (9_010, 30)], 3_000.0),
        ([(9_000, 30)], None),
    ],
)
def test_the_pace_is_that_between_commits(commits, pace):
    """What was settled from the first commit's beginning to the last one's, however little the last one held."""
    assert settled_per_s(commits) == pace


@pytest.mark.parametrize(
    ("value", "shown"), [(1_632.4, "1,632"), (25.34, "25.3"), (0.4117, "0.412"), (250.0, "250"), (3.0, "3")]
)
def test_numbers_have_the_digits_worth_reading(value, shown):
    """Three of them, more where they come before the point."""
    assert number(value) == shown
