"""When a budget's period begins and ends."""

from datetime import date, timedelta

from batchmill.budgets.model import Period
from batchmill.periods import date_of, start_of, zone_of


def span_of(period: Period, zone_name: str, at_ms: int) -> tuple[int, int | None]:
    """The period that a moment is in: its first millisecond since 1970, and that of the next; None = it never ends.

    Days, weeks (from Monday) and months are those of the zone's calendar: where its clocks change, a day has 23 or 25
    hours.

    Raises:
        MisuseError: There is no such zone.
    """
    if period is Period.TOTAL:
        return 0, None
    zone = zone_of(zone_name)
    today = date_of(at_ms, zone)
    first = _first_day(period, today)
    following = _following(period, first)
    start_ms, end_ms = start_of(first, zone), start_of(following, zone)
    while end_ms <= at_ms:  # a day that its zone left out
        first, following = following, _following(period, following)
        start_ms, end_ms = start_of(first, zone), start_of(following, zone)
    return start_ms, end_ms


def _first_day(period: Period, day: date) -> date:
    match period:
        case Period.WEEK:
            return day - timedelta(days=day.weekday())
        case Period.MONTH:
            return day.replace(day=1)
        case _:
            return day


def _following(period: Period, first: date) -> date:
    match period:
        case Period.WEEK:
            return first + timedelta(days=7)
        case Period.MONTH:
            return (first + timedelta(days=32)).replace(day=1)
        case _:
            return first + timedelta(days=1)
