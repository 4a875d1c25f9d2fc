"""A report as CSV, for spreadsheets: one table, a row for each period, day, model, tenant and so on."""

import csv
import io
from collections.abc import Iterator

from batchmill.money.nanos import usd_text
from batchmill.reports.model import SUMS, Report, Spend

COLUMNS = ("section", "name", "cost_usd", "cost_before_usd", *SUMS[1:])
_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n")


def sheet_of(report: Report) -> str:
    """The whole table. A name that a spreadsheet would take for a formula has an apostrophe before it (OWASP)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for section, name, spend, before_nanos in _rows(report):
        before = "" if before_nanos is None else usd_text(before_nanos)
        sums = [getattr(spend, column) for column in SUMS[1:]]
        writer.writerow([section, _harmless(name), usd_text(spend.cost_nanos), before, *sums])
    return text.getvalue()


def _rows(report: Report) -> Iterator[tuple[str, str, Spend, int | None]]:
    yield "period", report.period.title, report.spend, report.before.cost_nanos
    yield "before", report.period.before_words, report.before, None
    if report.weekday is not None:
        yield "same_weekday", "the same weekday of the week before", report.weekday, None
    yield "month", report.month.name, report.month.spend, None
    for day in report.days:
        yield "day", day.day, day.spend, None
    for ranking in report.rankings:
        for share in ranking.shares:
            yield ranking.dimension.value, share.name, share.spend, share.before_nanos


def _harmless(name: str) -> str:
    # A NUL ends the file for some programs.
    shown = name.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return f"'{shown}" if shown.lstrip(" ").startswith(_FORMULA_BEGINS) else shown
