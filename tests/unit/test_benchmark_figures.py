"""The benchmark's figures: what is said of them is what they say."""

import pytest

from benchmarks.figures import AtLeast, AtMost, Part, figures_of, number
from benchmarks.parts.rivals import CELERY, SDK, ratios
from benchmarks.parts.utilisation import steady_calls_a_second
from benchmarks.runs import settled_per_s


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
    """Their CPU over that of all our processes, our speed over theirs, where both were measured."""
    ours = {"SQLite: answered, req/s": 2_000.0}
    for role, value in (("worker", 0.25), ("worker parent", 0.1), ("launcher", 0.05), ("sandbox", 9.0)):
        ours[f"SQLite: {role}, ms CPU a request"] = value
    theirs = {
        f"{SDK}: answered, req/s": 400.0,
        f"{SDK}, ms CPU a request": 2.0,
        f"{CELERY}: answered, req/s": 200.0,
    }
    figures = figures_of(Part.UNIQUE, [ours], {}) + figures_of(Part.RIVALS, [theirs], {})
    assert sorted(figure.value for figure in ratios(figures)) == [5.0, 5.0, 10.0]


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
