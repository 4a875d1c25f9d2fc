"""Periods as people write them: points in time, spans back from now, the calendar days of a time zone."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from batchmill.errors import MisuseError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_OF_ONE_MACHINE = re.compile(r"localtime|posixrules|Factory|(posix|right)/.*")
"""Files beside those of the IANA list: another zone on every machine, or none, or one that counts leap seconds."""
_SPAN = re.compile(r"([0-9]{1,9})([smhd])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One calendar day of a time zone: 24 hours long, or 23 or 25 where the clocks change.

    Attributes:
        name: `2026-11-01`.
        start_ms: Its first millisecond since 1970.
        end_ms: That of the next day.
    """

    name: str
    start_ms: int
    end_ms: int


def zone_of(name: str) -> tzinfo:
    """The time zone of that name, `Europe/Berlin` for instance.

    Raises:
        MisuseError: There is none of that name.
    """
    if name.upper() == "UTC":
        return UTC  # also where the system knows no time zones
    with contextlib.suppress(ZoneInfoNotFoundError, ValueError, OSError):
        if not _OF_ONE_MACHINE.fullmatch(name):
            return ZoneInfo(name)
    raise MisuseError(
        f'there is no time zone "{name}"',
        "take a name of the IANA list, such as Europe/Berlin, America/New_York or UTC",
    )


def span_ms(text: str) -> int | None:
    """The length of `90s`, `15m`, `24h` or `7d`, where a day is 24 hours; None for anything else."""
    match = _SPAN.fullmatch(text.strip())
    return int(match[1]) * _UNITS_MS[match[2]] if match else None


@lru_cache(maxsize=1024)
def go_duration(ms: int) -> str:
    """Milliseconds as Go writes a duration: `0s`, `12ms`, `1.146s`, `6m0s`, `1h0m0.5s`."""
    if 0 < ms < 1000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    seconds = f"{ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def point_ms(text: str, *, zone: tzinfo, now_ms: int) -> int:
    """A point in time as milliseconds since 1970.

    Args:
        text: A date (its first moment in the zone), an ISO 8601 time (in the zone if it names no other), or a
            span back from now.

    Raises:
        MisuseError: It is none of them.
    """
    span = span_ms(text)
    if span is not None:
        return now_ms - span
    try:
        given = datetime.fromisoformat(text.strip())
        return _ms_of(given if given.tzinfo else given.replace(tzinfo=zone))
    except (ValueError, OverflowError):
        raise MisuseError(
            f'"{text}" is no date, no time and no span', "write 2026-11-01, 2026-11-01T09:30, 24h or 7d"
        ) from None


def point_named(name: str, text: str | None, *, zone: tzinfo, now_ms: int) -> int | None:
    """The point in time that somebody gives under a name, as `point_ms` has it; None where it is not given.

    Raises:
        MisuseError: It names none; the message begins with that name.
    """
    if text is None:
        return None
    try:
        return point_ms(text, zone=zone, now_ms=now_ms)
    except MisuseError as error:
        raise MisuseError(f"{name} {error.message}", error.hint) from None


def days_between(since_ms: int, until_ms: int, zone: tzinfo) -> Iterator[Day]:
    """The calendar days of a zone that this period touches, each whole and in order; `until_ms` is excluded.

    A day that a zone left out (Samoa had no 30 December 2011) is left out.
    """
    if since_ms >= until_ms:
        return
    day = date_of(since_ms, zone)
    start_ms = start_of(day, zone)
    while start_ms < until_ms:
        following = day + timedelta(days=1)
        end_ms = start_of(following, zone)
        if end_ms > start_ms:
            yield Day(name=day.isoformat(), start_ms=start_ms, end_ms=end_ms)
        day, start_ms = following, end_ms


def date_of(at_ms: int, zone: tzinfo) -> date:
    """The calendar day of a zone that a moment, in milliseconds since 1970, is in."""
    return (_EPOCH + at_ms * _MS).astimezone(zone).date()


def start_of(day: date, zone: tzinfo) -> int:
    """A day's first moment: where its midnight is skipped, the moment at which the clocks skip it."""
    return _ms_of(datetime(day.year, day.month, day.day, tzinfo=zone))


def _ms_of(moment: datetime) -> int:
    return (moment - _EPOCH) // _MS
