"""Which stretch of time somebody asks a report of."""

from datetime import timedelta

from batchmill.errors import MisuseError
from batchmill.periods import date_of, point_named, start_of, zone_of
from batchmill.reports.period import ReportPeriod, span_period


def asked_for(
    *, days: int | None, since: str | None, until: str | None, timezone: str, now_ms: int
) -> ReportPeriod:
    """The period that is meant.

    Args:
        days: So many calendar days, the one that it ends in included.
        since: As `batchmill.periods.point_ms` takes it; counts where there are no `days`.
        until: The same; None = now. What is still to come is left out.

    Raises:
        MisuseError: There is no such zone, a point in time is none, or the period ends before it begins.
    """
    zone = zone_of(timezone)
    until_ms = point_named("--until", until, zone=zone, now_ms=now_ms)
    until_ms = now_ms if until_ms is None else min(until_ms, now_ms)
    if days is not None:
        last = date_of(until_ms - 1, zone)
        since_ms: int | None = start_of(last - timedelta(days=days - 1), zone)
    else:
        since_ms = point_named("--since", since, zone=zone, now_ms=now_ms)
    if since_ms is None or since_ms >= until_ms:
        raise MisuseError(
            f"--since {since} is not before {'now' if until is None else f'--until {until}'}",
            "name the earlier moment first",
        )
    return span_period(since_ms, until_ms, timezone)
