"""Dates, times and spans as people write them; calendar days that are not always 24 hours long."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import MisuseError
from batchmill.periods import days_between, point_ms, span_ms, zone_of

HOUR_MS = 3_600_000
BERLIN = ZoneInfo("Europe/Berlin")
NOW_MS = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * 1000
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Asia/Beirut",
]


def ms(text: str) -> int:
    """An ISO time with its offset, in milliseconds since 1970."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01", "2026-11-01T00:00+01:00"),
        ("2026-07-01", "2026-07-01T00:00+02:00"),
        ("2026-11-01T09:30", "2026-11-01T09:30+01:00"),
        ("2026-11-01 09:30:15", "2026-11-01T09:30:15+01:00"),
        ("2026-11-01T09:30Z", "2026-11-01T09:30+00:00"),
        ("2026-11-01T09:30-05:00", "2026-11-01T09:30-05:00"),
        ("24h", "2026-11-19T12:00+00:00"),
        ("7d", "2026-11-13T12:00+00:00"),
    ],
)
def test_points_in_time(text, expected):
    """Dates and times without an offset are the zone's; a span counts back from now."""
    assert point_ms(text, zone=BERLIN, now_ms=NOW_MS) == ms(expected)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-02-30", "2026-13-01", "7w", "-7d", "1.5h", "0001-01-01T00:00+14:00x", "d"]
)
def test_what_is_no_point_in_time_is_told(text):
    """The text is named, and what can be written instead."""
    with pytest.raises(MisuseError) as told:
        point_ms(text, zone=BERLIN, now_ms=NOW_MS)
    assert f'"{text}"' in told.value.message
    assert "2026-11-01" in told.value.hint


@pytest.mark.parametrize(
    "name",
    [
        *("Europe/Nowhere", "Europe", "../../etc/passwd", "", "\0", "/etc/passwd"),
        *("localtime", "posixrules", "Factory", "right/Europe/Berlin"),
    ],
)
def test_unknown_zones_are_told(name):
    """Whatever a zone's name does to the file system's, it is a misuse and no accident."""
    with pytest.raises(MisuseError, match="no time zone"):
        zone_of(name)


def test_spans():
    """A whole number and a unit."""
    assert [span_ms(text) for text in ("90s", "15m", "24h", "7d")] == [
        90_000,
        900_000,
        86_400_000,
        604_800_000,
    ]
    assert span_ms("2026-11-01") is None


def test_days_of_summer_time():
    """The day on which the clocks go forward has 23 hours, the one on which they go back 25."""
    (spring,) = days_between(ms("2026-03-29T12:00+02:00"), ms("2026-03-29T12:01+02:00"), BERLIN)
    (autumn,) = days_between(ms("2026-10-25T12:00+01:00"), ms("2026-10-25T12:01+01:00"), BERLIN)
    assert (spring.end_ms - spring.start_ms, autumn.end_ms - autumn.start_ms) == (23 * HOUR_MS, 25 * HOUR_MS)
    assert (spring.name, spring.start_ms) == ("2026-03-29", ms("2026-03-29T00:00+01:00"))
    assert (autumn.name, autumn.end_ms) == ("2026-10-25", ms("2026-10-26T00:00+01:00"))


def test_day_that_a_zone_left_out():
    """Samoa went from the 29th to the 31st."""
    days = days_between(ms("2011-12-29T12:00-10:00"), ms("2012-01-01T00:00+14:00"), ZoneInfo("Pacific/Apia"))
    assert [day.name for day in days] == ["2011-12-29", "2011-12-31"]


def test_until_is_excluded():
    """A period that ends at midnight does not touch the day that begins then."""
    names = [day.name for day in days_between(ms("2026-11-01T00:00Z"), ms("2026-11-03T00:00Z"), UTC)]
    assert names == ["2026-11-01", "2026-11-02"]
    assert list(days_between(NOW_MS, NOW_MS, UTC)) == []


@given(
    zone=st.sampled_from(ZONES),
    since_ms=st.integers(0, 4_000_000_000_000),
    length_ms=st.integers(1, 30 * 24 * HOUR_MS),
)
def test_every_moment_has_its_day(zone, since_ms, length_ms):
    """Days follow each other without gap or overlap, and each moment lies in the day its zone's calendar names."""
    tz = ZoneInfo(zone)
    days = list(days_between(since_ms, since_ms + length_ms, tz))
    assert days[0].start_ms <= since_ms < since_ms + length_ms <= days[-1].end_ms
    for day, following in pairwise(days):
        assert day.end_ms == following.start_ms
    for day in days:
        for at_ms in (day.start_ms, day.end_ms - 1):
            assert datetime.fromtimestamp(at_ms / 1000, tz).date().isoformat() == day.name
