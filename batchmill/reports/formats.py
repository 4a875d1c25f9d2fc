"""The formats in which a report is shown or written outside of a mail."""

from enum import StrEnum

import orjson

from batchmill.reports.chart import chart_png
from batchmill.reports.html import html_of, in_place
from batchmill.reports.model import Report
from batchmill.reports.sheet import sheet_of
from batchmill.reports.text import text_of
from batchmill.reports.views import report_view


class ReportFormat(StrEnum):
    """How a report is written."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"
    CSV = "csv"


def rendered(report: Report, how: ReportFormat) -> bytes:
    """All of a report, in UTF-8; HTML stands alone, with its chart in it."""
    match how:
        case ReportFormat.TEXT:
            return text_of(report).encode()
        case ReportFormat.JSON:
            return orjson.dumps(report_view(report), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        case ReportFormat.HTML:
            return html_of(report, chart_src=in_place(chart_png(report.days))).encode()
        case ReportFormat.CSV:
            return sheet_of(report).encode()
