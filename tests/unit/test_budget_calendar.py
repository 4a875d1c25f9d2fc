"""When a budget's period begins and ends."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.budgets.calendar import span_of
from batchmill.budgets.model import Period

HOUR_MS = 3_600_000
BERLIN = "Europe/Berlin"
ZONES = (
    "UTC",
    BERLIN,
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Sao_Paulo",
    "Pacific/Apia",
)


def at(text: str, zone: str = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("noon", "hours"), [("2026-03-29T12:00", 23), ("2026-10-25T12:00", 25), ("2026-11-20T12:00", 24)]
)
def test_a_day_is_as_long_as_its_clocks_make_it(noon: str, hours: int) -> None:
    """Where clocks change a day has 23 or 25 hours, and no moment of it is in another."""
    start_ms, end_ms = span_of(Period.DAY, BERLIN, at(noon))
    assert end_ms is not None
    assert end_ms - start_ms == hours * HOUR_MS
    assert start_ms == at(noon[:10])


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        (Period.WEEK, "2026-10-19", "2026-10-26"),
        (Period.MONTH, "2026-10-01", "2026-11-01"),
        (Period.DAY, "2026-10-25", "2026-10-26"),
    ],
)
def test_periods_are_the_calendar_s(period: Period, start: str, end: str) -> None:
    """A week is Monday to Sunday, a month is a month, also over a change of clocks."""
    assert span_of(period, BERLIN, at("2026-10-25T23:59")) == (at(start), at(end))


def test_december_is_followed_by_january() -> None:
    """The month after the last is of the next year."""
    assert span_of(Period.MONTH, "UTC", at("2026-12-31T23:59", "UTC")) == (
        at("2026-12-01", "UTC"),
        at("2027-01-01", "UTC"),
    )


def test_total_never_ends() -> None:
    """A total budget has one period."""
    assert span_of(Period.TOTAL, "UTC", at("2026-12-31")) == (0, None)


@given(
    st.sampled_from([Period.DAY, Period.WEEK, Period.MONTH]),
    st.sampled_from(ZONES),
    st.integers(at("2005-01-01", "UTC"), at("2035-01-01", "UTC")),
)
def test_every_moment_is_in_its_period_and_periods_meet(period: Period, zone: str, at_ms: int) -> None:
    """No moment is left out and none is in two: the next period begins where this one ends."""
    start_ms, end_ms = span_of(period, zone, at_ms)
    assert end_ms is not None
    assert start_ms <= at_ms < end_ms
    assert span_of(period, zone, start_ms) == span_of(period, zone, end_ms - 1) == (start_ms, end_ms)
    assert span_of(period, zone, end_ms)[0] == end_ms
