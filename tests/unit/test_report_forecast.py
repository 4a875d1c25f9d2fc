"""The forecast of a month: deterministic, aware of weekdays, honest about what it does not know."""

from datetime import date, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.reports.forecast import forecast_of
from batchmill.reports.pace import runs_out_ms

FIRST = date(2026, 11, 2)  # a Monday
CENT = 10_000_000
DAY_MS = 86_400_000


def days_from(first: date, *costs: int) -> dict[date, int]:
    """A day for each cost."""
    return {first + timedelta(days=nth): cost for nth, cost in enumerate(costs)}


def coming(after: date, number: int) -> list[date]:
    """So many days from then on."""
    return [after + timedelta(days=nth) for nth in range(number)]


def test_insufficient_data() -> None:
    """Two days say nothing; three do."""
    rest = coming(FIRST + timedelta(days=3), 27)
    assert forecast_of(days_from(FIRST, 5, 5), rest, spent_nanos=10) is None
    assert forecast_of({}, rest, spent_nanos=0) is None
    known = forecast_of(days_from(FIRST, 5, 5, 5), rest, spent_nanos=15)
    assert known is not None
    assert (known.expected_nanos, known.low_nanos, known.high_nanos) == (150, 150, 150)
    assert (known.days, known.by_weekday) == (3, False)


def test_weekdays_are_told_apart() -> None:
    """Who works from Monday to Friday spends nothing at weekends: then the rest of the month has as many working days
    as it has, and not two thirds of each day."""
    costs = [700 if (FIRST + timedelta(days=nth)).weekday() < 5 else 0 for nth in range(14)]
    found = forecast_of(days_from(FIRST, *costs), coming(FIRST + timedelta(days=14), 15), spent_nanos=7_000)
    assert found is not None
    assert found.by_weekday
    assert found.expected_nanos == 7_000 + 700 * 11
    assert found.low_nanos == found.high_nanos == found.expected_nanos


def test_the_interval_by_hand() -> None:
    """Three days of 1, 2 and 3: s² = 1, t = 1.886 of two degrees of freedom; two days to come spread as √(2 + 4/3)."""
    found = forecast_of(
        days_from(FIRST, 1 * CENT, 2 * CENT, 3 * CENT), coming(FIRST + timedelta(days=3), 2), spent_nanos=0
    )
    assert found is not None
    assert found.expected_nanos == 4 * CENT
    assert found.high_nanos - found.expected_nanos == round(1.886 * (2 + 4 / 3) ** 0.5 * CENT)


def test_never_less_than_what_is_spent() -> None:
    """The low end is what is spent already, today's part included; a day dearer than expected counts as it is."""
    wild = days_from(FIRST, 0, 100 * CENT, 0, 0)
    found = forecast_of(
        wild, coming(FIRST + timedelta(days=4), 3), spent_nanos=100 * CENT, today_nanos=60 * CENT
    )
    assert found is not None
    assert found.low_nanos == 160 * CENT
    assert found.expected_nanos == (100 + 60 + 25 + 25) * CENT


def test_a_month_that_is_over_is_what_it_was() -> None:
    """Nothing is to come, so nothing is guessed."""
    found = forecast_of(days_from(FIRST, 1, 9, 4), [], spent_nanos=14)
    assert found is not None
    assert found.low_nanos == found.expected_nanos == found.high_nanos == 14


def test_four_in_five_months_lie_within() -> None:
    """Of months made up by the rules that it assumes, some 80 % end within the interval."""
    random, within = Random(7), 0
    for _ in range(400):
        month = [max(0, round(random.gauss(60 if nth % 7 < 5 else 10, 9) * CENT)) for nth in range(42)]
        known = days_from(FIRST, *month[:28])
        found = forecast_of(known, coming(FIRST + timedelta(days=28), 14), spent_nanos=0)
        assert found is not None
        within += found.low_nanos <= sum(month[28:]) <= found.high_nanos
    assert 0.74 <= within / 400 <= 0.87


@given(st.lists(st.integers(0, 10**15), max_size=40), st.integers(0, 31), st.integers(0, 10**15))
def test_any_days_are_forecast_alike(costs: list[int], rest: int, spent_nanos: int) -> None:
    """Whatever the days, twice the same; and in order."""
    known = days_from(FIRST, *costs)
    later = coming(FIRST + timedelta(days=len(costs)), rest)
    found = forecast_of(known, later, spent_nanos=spent_nanos)
    assert found == forecast_of(dict(reversed(known.items())), later, spent_nanos=spent_nanos)
    if found is not None:
        assert spent_nanos <= found.low_nanos <= found.expected_nanos <= found.high_nanos


@pytest.mark.parametrize(
    ("spent", "day", "end", "runs_out"),
    [
        (50, 5, 30, 10),
        (50, 2, 30, None),
        (0, 5, 30, None),
        (100, 5, 30, None),
        (10, 5, 30, None),
        (50, 5, None, 10),
    ],
)
def test_when_a_budget_runs_out(spent: int, day: int, end: int | None, runs_out: int | None) -> None:
    """By its pace so far, once it is three days old; not when that is after it turns, nor when it is used up."""
    found = runs_out_ms(
        limit_nanos=100,
        spent_nanos=spent,
        start_ms=0,
        now_ms=day * DAY_MS,
        end_ms=None if end is None else end * DAY_MS,
    )
    assert found == (None if runs_out is None else runs_out * DAY_MS)
