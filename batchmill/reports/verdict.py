"""The verdict: a report in one line."""

from batchmill.reports.model import Month, Report
from batchmill.reports.words import change_text, rough_usd, spend_text, usd


def verdict_of(report: Report) -> str:
    """`$41.20 yesterday (+12 %), 63 % of month, forecast $118`, where 63 % of the global monthly budget are used.

    Without such a budget it says what the month has cost. All of it is ASCII, and none of it is anybody's name.
    """
    return ", ".join(part for part in (_spent(report), _month(report.month), _forecast(report.month)) if part)


def _spent(report: Report) -> str:
    when = report.period.words
    if report.spend.is_quiet:
        return f"no calls {when}"
    change = change_text(report.spend.cost_nanos, report.before.cost_nanos)
    return f"{spend_text(report.spend)} {when}" + (f" ({change})" if change else "")


def _month(month: Month) -> str:
    percent = month.used_percent
    return f"{usd(month.spend.cost_nanos)} this month" if percent is None else f"{percent} % of month"


def _forecast(month: Month) -> str:
    if month.is_over:
        return ""
    if month.forecast is None:
        return "forecast: insufficient data"
    is_over_budget = month.limit_nanos is not None and month.forecast.expected_nanos > month.limit_nanos
    over = f", over the budget of {rough_usd(month.limit_nanos or 0)}" if is_over_budget else ""
    return f"forecast {rough_usd(month.forecast.expected_nanos)}{over}"
