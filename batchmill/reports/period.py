"""What a report is of: a day, a week, or any span, by the calendar of a zone; and what it is held against."""

from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from enum import StrEnum

from batchmill.periods import date_of, start_of, zone_of


class ReportKind(StrEnum):
    """How a report comes about, and how long it is of."""

    DAILY = "daily"
    """The day before, every night."""
    WEEKLY = "weekly"
    """The week before, from Monday to Sunday."""
    SPAN = "span"
    """Whatever somebody asks for; it is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time.

    Attributes:
        start_ms: Its first millisecond since 1970.
        end_ms: The first that is too late.
    """

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPeriod:
    """What a report is of.

    Attributes:
        timezone: The zone whose calendar is meant, an IANA name.
    """

    kind: ReportKind
    start_ms: int
    end_ms: int
    timezone: str

    @property
    def zone(self) -> tzinfo:
        """The same as an object."""
        return zone_of(self.timezone)

    @property
    def span(self) -> Span:
        """Its stretch of time."""
        return Span(start_ms=self.start_ms, end_ms=self.end_ms)

    @property
    def first_day(self) -> date:
        """The day it begins on."""
        return date_of(self.start_ms, self.zone)

    @property
    def last_day(self) -> date:
        """The day that its last moment is on."""
        return date_of(max(self.start_ms, self.end_ms - 1), self.zone)

    @property
    def days(self) -> int:
        """How many calendar days it touches."""
        return (self.last_day - self.first_day).days + 1

    @property
    def name(self) -> str:
        """`daily-2026-11-05`: by what it is called for."""
        return f"{self.kind}-{self.first_day.isoformat()}"

    @property
    def title(self) -> str:
        """`Thursday, 5 November 2026`, `2 November to 8 November 2026`."""
        last = f"{day_text(self.last_day)} {self.last_day.year}"
        if self.days == 1:
            return f"{_WEEKDAYS[self.last_day.weekday()]}, {last}"
        first = day_text(self.first_day)
        if self.first_day.year != self.last_day.year:
            first += f" {self.first_day.year}"
        return f"{first} to {last}"

    @property
    def words(self) -> str:
        """When it was, from whoever reads the report: `yesterday`, `last week`, `in 7 days`."""
        match self.kind:
            case ReportKind.DAILY:
                return "yesterday"
            case ReportKind.WEEKLY:
                return "last week"
            case _:
                return f"on {day_text(self.last_day)}" if self.days == 1 else f"in {self.days} days"

    @property
    def before(self) -> Span:
        """As many days as it has, before it; as far into them as it is."""
        return self._earlier(self.days)

    @property
    def before_words(self) -> str:
        """What that is called: `the day before`."""
        match self.kind:
            case ReportKind.DAILY:
                return "the day before"
            case ReportKind.WEEKLY:
                return "the week before"
            case _:
                return "the day before" if self.days == 1 else f"the {self.days} days before"

    @property
    def same_weekday(self) -> Span | None:
        """The same day of the week before; None for what is not of a single day."""
        return self._earlier(7) if self.kind is ReportKind.DAILY else None

    def _earlier(self, days: int) -> Span:
        start_ms = start_of(self.first_day - timedelta(days=days), self.zone)
        end_day = date_of(self.end_ms, self.zone)
        into_ms = self.end_ms - start_of(end_day, self.zone)
        end_ms = start_of(end_day - timedelta(days=days), self.zone) + into_ms
        return Span(start_ms=start_ms, end_ms=min(end_ms, self.start_ms))


def day_before(now_ms: int, timezone: str) -> ReportPeriod:
    """The last calendar day of a zone that is over by then."""
    zone = zone_of(timezone)
    today = date_of(now_ms, zone)
    end_ms = start_of(today, zone)
    day = today - timedelta(days=1)
    while (start_ms := start_of(day, zone)) >= end_ms:  # a day that its zone left out
        day -= timedelta(days=1)
    return ReportPeriod(kind=ReportKind.DAILY, start_ms=start_ms, end_ms=end_ms, timezone=timezone)


def week_before(now_ms: int, timezone: str) -> ReportPeriod:
    """The last week, from Monday to Sunday, of a zone's calendar that is over by then."""
    zone = zone_of(timezone)
    today = date_of(now_ms, zone)
    monday = today - timedelta(days=today.weekday())
    return ReportPeriod(
        kind=ReportKind.WEEKLY,
        start_ms=start_of(monday - timedelta(days=7), zone),
        end_ms=start_of(monday, zone),
        timezone=timezone,
    )


def span_period(since_ms: int, until_ms: int, timezone: str) -> ReportPeriod:
    """Any stretch of time."""
    return ReportPeriod(kind=ReportKind.SPAN, start_ms=since_ms, end_ms=until_ms, timezone=timezone)


def day_text(day: date) -> str:
    """`5 November`, whatever the machine's language."""
    return f"{day.day} {_MONTHS[day.month - 1]}"


def month_text(day: date) -> str:
    """`November 2026`."""
    return f"{_MONTHS[day.month - 1]} {day.year}"


_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
