"""Timetables: when what recurs is due, in every zone, also where the clocks change."""

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchmill.errors import SettingsError
from batchmill.settings import load_settings
from batchmill.settings.schedules import JobName
from batchmill.timetable import Timetable

BERLIN, NEW_YORK, LORD_HOWE = (
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("America/New_York"),
    ZoneInfo("Australia/Lord_Howe"),
)
HOUR_MS = 3_600_000


def ms(text: str) -> int:
    """An ISO time, in UTC unless it says otherwise."""
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def after(text: str, since: str, zone: tzinfo, times: int) -> list[str]:
    """The next moments it is due, by the zone's clock."""
    found, now_ms = [], ms(since)
    for _ in range(times):
        due_ms = Timetable(text).next_due(now_ms, zone)
        assert due_ms is not None
        assert due_ms > now_ms
        found.append(datetime.fromtimestamp(due_ms / 1000, zone).strftime("%d %H:%M%z"))
        now_ms = due_ms
    return found


@pytest.mark.parametrize(
    ("text", "last", "following"),
    [
        ("every 10s", "2026-03-01T12:00:10", "2026-03-01T12:00:20"),
        ("Every  5m", "2026-03-01T12:00", "2026-03-01T12:05"),
        ("every 1d", "2026-03-01", "2026-03-02"),
        ("0 2 * * *", "2026-03-01T02:00", "2026-03-02T02:00"),
        ("0 12 * * *", "2026-03-01T12:00", "2026-03-02T12:00"),
        ("*/15 * * * mon-fri", "2026-02-27T23:45", "2026-03-02T00:00"),
        ("0 0 29 2 *", "2024-02-29", "2028-02-29"),
    ],
)
def test_last_and_next(text: str, last: str, following: str) -> None:
    """Of the two nearest moments the one is now at the latest, the other after now."""
    now_ms = ms("2026-03-01T12:00:13.500")
    assert Timetable(text).last_due(now_ms, UTC) == ms(last)
    assert Timetable(text).next_due(now_ms, UTC) == ms(following)


def test_a_zone_has_its_own_mornings() -> None:
    """Two in the morning is two by the clock on the wall there."""
    assert after("0 2 * * *", "2026-07-01", BERLIN, 1) == ["02 02:00+0200"]
    assert Timetable("0 2 * * *").last_due(ms("2026-07-01T12:00"), NEW_YORK) == ms("2026-07-01T06:00")


def test_the_clocks_go_forward() -> None:
    """What falls into the hour that is left out is due right after it, once; what comes each hour loses one."""
    assert after("30 2 * * *", "2026-03-28", BERLIN, 3) == ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]
    assert after("0 * * * *", "2026-03-29T00:30", BERLIN, 2) == ["29 03:00+0200", "29 04:00+0200"]
    assert after("every 1h", "2026-03-29T00:30", BERLIN, 2) == ["29 03:00+0200", "29 04:00+0200"]


def test_the_clocks_go_back() -> None:
    """What falls into the hour that comes twice is due once; what comes each hour comes in both."""
    assert after("30 2 * * *", "2026-10-24T12:00", BERLIN, 2) == ["25 02:30+0200", "26 02:30+0100"]
    assert after("0 * * * *", "2026-10-24T23:30", BERLIN, 3) == [
        "25 02:00+0200",
        "25 02:00+0100",
        "25 03:00+0100",
    ]


@pytest.mark.parametrize(
    ("text", "zone", "last", "now"),
    [
        ("30 2 * * *", BERLIN, "2026-10-25T02:30+02:00", "2026-10-25T02:10+01:00"),
        ("30 1 * * *", NEW_YORK, "2026-11-01T01:30-04:00", "2026-11-01T01:00-05:00"),
        ("30 */2 * * *", LORD_HOWE, "2026-04-05T00:30+11:00", "2026-04-05T01:35+10:30"),
    ],
)
def test_what_was_due_stays_so_when_the_clocks_go_back(text: str, zone: tzinfo, last: str, now: str) -> None:
    """In the hour that comes twice, what was due in its first half is not taken for still to come."""
    assert Timetable(text).last_due(ms(now), zone) == ms(last)
    following = Timetable(text).next_due(ms(now), zone)
    assert following is not None
    assert following > ms(now)


ZONES = st.sampled_from([UTC, BERLIN, NEW_YORK, LORD_HOWE])
TIMES = st.sampled_from(
    [
        "every 7m",
        "*/7 * * * *",
        "0 * * * *",
        "30 2 * * *",
        "0 2 * * *",
        "15,45 1-3 * * *",
        "59 23 * * sun",
        "0 0 1 * *",
    ]
)


@given(text=TIMES, zone=ZONES, now_s=st.integers(1_767_225_600, 1_830_297_600))
@example(text="30 2 * * *", zone=BERLIN, now_s=ms("2026-03-29T01:10") // 1000)
@example(text="30 2 * * *", zone=BERLIN, now_s=ms("2026-10-25T01:10") // 1000)
@example(text="0 * * * *", zone=BERLIN, now_s=ms("2026-10-25T00:30") // 1000)
@example(text="*/7 * * * *", zone=LORD_HOWE, now_s=ms("2026-04-04T15:10") // 1000)
def test_looking_back_finds_what_looking_ahead_did(text: str, zone: tzinfo, now_s: int) -> None:
    """Whoever looks at any moment finds the same due times, however late: none is missed, none comes to be twice."""
    table, now_ms = Timetable(text), now_s * 1000
    following = table.next_due(now_ms, zone)
    assert following is not None
    assert following > now_ms
    assert table.last_due(following, zone) == following
    before = table.last_due(following - 1, zone)
    assert before is not None
    assert before <= now_ms
    assert table.last_due(now_ms, zone) == before
    assert table.next_due(before, zone) == following


def test_off_is_never() -> None:
    """What is off is neither due nor will be."""
    table = Timetable(" OFF ")
    assert (table.last_due(ms("2026-03-01"), UTC), table.next_due(ms("2026-03-01"), UTC)) == (None, None)


@pytest.mark.parametrize(
    "text",
    ["", "sometimes", "every", "every 0s", "every -5m", "every day", "5m", "* * * *", "0 0 2 * * *", "60 2 * * *",
     "0 2 30 2 *", "0 2 * * 1#6", "0 2 * * 1#1/2", "@daily"],
)  # fmt: skip
def test_nonsense_is_refused(text: str) -> None:
    """What is no timetable stops the start, and the variable is named."""
    with pytest.raises(ValueError, match=r"names no span|neither a span nor|ever comes true"):
        Timetable(text)
    if text:
        with pytest.raises(SettingsError, match="BATCHMILL_AT_USAGE_REPORT is ") as refused:
            load_settings({"BATCHMILL_AT_USAGE_REPORT": text}, None)
        assert "every 5m" in refused.value.message


@given(st.text(alphabet="0123456789*/,-#LWlmonjan \n", max_size=20))
def test_any_text_is_a_timetable_or_none(text: str) -> None:
    """Whatever stands in a variable: it is refused by name, or it can be asked."""
    try:
        table = Timetable(text)
    except ValueError:
        return
    now_ms = ms("2026-03-01T12:00")
    last, following = table.last_due(now_ms, BERLIN), table.next_due(now_ms, BERLIN)
    assert last is None or following is None or last <= now_ms < following


def test_every_job_has_its_times() -> None:
    """Each job can be set by a variable named like it, and says in words when it is due."""
    settings = load_settings({"BATCHMILL_AT_CACHE_CLEANUP": "every 2h"}, None).schedules
    assert settings.of(JobName.CACHE_CLEANUP).in_words() == "every 2h"
    assert settings.of(JobName.USAGE_REPORT).in_words() == "At 02:00 every day"
    assert settings.of(JobName.WEEKLY_REPORT).in_words() == "off"
    assert all(settings.of(job) for job in JobName)
