"""A report as HTML that mail programs show: styles in place, no script, nothing from anywhere else."""

import base64
from functools import cache
from importlib.resources import files
from typing import Any

import css_inline
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from batchmill.reports.chart import chart_words
from batchmill.reports.lines import (
    budget_remarks,
    compared,
    latency_line,
    provider_words,
)
from batchmill.reports.model import BudgetState, Ranking, Report
from batchmill.reports.period import ReportKind
from batchmill.reports.suggestions import unknowns_bound
from batchmill.reports.text import HEADINGS, from_to, movers_of
from batchmill.reports.verdict import verdict_of
from batchmill.reports.words import (
    capital,
    change_text,
    counted,
    moment_text,
    named,
    not_in_it,
    rough_usd,
    share_text,
    spend_text,
    usd,
)

ROWS = 7
"""Of a table; the CSV has more."""

_NEAR_PERCENT, _OVER_PERCENT = 75, 100


def html_of(report: Report, *, chart_src: str) -> str:
    """All of it; less than 100 KB, beyond which some mail programs cut a mail off.

    Args:
        chart_src: Where the chart is: `cid:…` of a part of the same mail, or `data:…`.
    """
    page = _templates().get_template("report.html.j2").render(_facts(report), chart_src=chart_src)
    return _inliner().inline(page)


def in_place(png: bytes) -> str:
    """A picture as the source of itself, for HTML that stands alone."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _facts(report: Report) -> dict[str, Any]:
    spend, zone = report.spend, report.period.zone
    is_quiet = spend.is_quiet
    headline = f"No calls {report.period.words}" if is_quiet else f"{spend_text(spend)} {report.period.words}"
    lines = list(compared(report))
    return {
        "styles": Markup(_styles()),
        "verdict": verdict_of(report),
        "preview": " ".join(lines),
        "title": f"{report.period.title} ({report.period.timezone})",
        "headline": capital(headline),
        "change": "" if is_quiet else change_text(spend.cost_nanos, report.before.cost_nanos),
        "lines": lines[1:] if is_quiet else lines,
        "left_out": not_in_it(spend),
        "tiles": _tiles(report),
        "suggestions": [_with_code(one.text) for one in report.suggestions],
        "days": len(report.days),
        "chart_words": chart_words(report.days),
        "rankings": [_ranking(one) for one in report.rankings if any(share.name for share in one.shares)],
        "movers": [_mover(dimension.value, share) for dimension, share in movers_of(report)],
        "types": _types(report),
        "latency": latency_line(report.latency),
        "unknowns": _unknowns(report),
        "before_words": report.period.before_words,
        "failures": [
            {"code": named(one.code), "calls": f"{one.calls:,}", "before": f"{one.before:,}"}
            for one in report.failures[:ROWS]
        ],
        "budgets": [
            _budget(one) | {"remarks": budget_remarks(one, zone).removeprefix(", ")} for one in report.budgets
        ],
        "budgets_more": report.budget_count - len(report.budgets),
        "paused": _paused(report),
        "paused_more": report.paused_count - len(report.paused[:ROWS]),
        "providers": [
            {
                "provider": one.provider,
                "text": provider_words(one, zone),
                "tone": {"ok": "green", "failing": "red"}.get(one.state, "muted"),
            }
            for one in report.providers
        ],
        "foot": _foot(report),
    }


def _foot(report: Report) -> Markup:
    made = moment_text(report.made_ms, report.period.zone)
    said = (
        f"Made {made} ({report.period.timezone}); budgets, batches and providers are as of then. Costs are what is"
        " known to have been spent."
    )
    if report.period.kind is not ReportKind.SPAN:
        said += f" `batchmill report show {report.period.name}` shows this report again."
    return _with_code(said)


def _tiles(report: Report) -> list[dict[str, str]]:
    month, cache_, spend = report.month, report.cache, report.spend
    budget = "" if month.limit_nanos is None else f"{month.used_percent} % of {usd(month.limit_nanos)}"
    so_far = ("" if month.spend.is_certain else "≥ ") + usd(month.spend.cost_nanos)
    tiles = [{"label": month.name, "figure": so_far, "note": budget or "no monthly budget"}]
    if month.is_over:
        tiles.append({"label": "Forecast", "figure": "–", "note": "the month is over"})
    elif month.forecast is None:
        tiles.append({"label": "Forecast", "figure": "–", "note": "insufficient data"})
    else:
        low, high = rough_usd(month.forecast.low_nanos), rough_usd(month.forecast.high_nanos)
        figure = rough_usd(month.forecast.expected_nanos)
        tiles.append({"label": "Forecast of the month", "figure": figure, "note": f"80 %: {low} to {high}"})
    rate = "–" if cache_.hit_percent is None else f"{cache_.hit_percent} %"
    tiles.append({"label": "From the cache", "figure": rate, "note": f"{usd(cache_.saved_nanos)} saved"})
    share = f"{spend.failed * 100 // spend.calls} % of the calls" if spend.calls else "no calls"
    tiles.append({"label": "Failed calls", "figure": f"{spend.failed:,}", "note": share})
    return tiles


def _ranking(ranking: Ranking) -> dict[str, Any]:
    rows = [
        {
            "name": named(share.name),
            "calls": f"{share.spend.calls:,}",
            "hits": f"{share.spend.hits:,}",
            "change": change_text(share.spend.cost_nanos, share.before_nanos)
            or ("new" if share.spend.cost_nanos else ""),
            "cost": share_text(share.spend),
        }
        for share in ranking.shares[:ROWS]
    ]
    more = ranking.names - len(rows)
    return {
        "heading": HEADINGS[ranking.dimension],
        "noun": ranking.dimension.value,
        "rows": rows,
        "more": f"{more:,}" if more > 0 else "",
    }


def _mover(of: str, share: Any) -> dict[str, str]:
    amounts, change = from_to(share)
    return {"name": named(share.name), "of": of, "amounts": amounts, "change": change}


def _types(report: Report) -> list[dict[str, str]]:
    if not any(one.name for one in report.cache_by_type):
        return []
    return [
        {
            "name": named(one.name),
            "requests": f"{one.requests:,}",
            "rate": f"{one.hit_percent or 0} %",
            "saved": usd(one.saved_nanos),
        }
        for one in report.cache_by_type[:ROWS]
    ]


def _unknowns(report: Report) -> str:
    unknowns = report.unknowns
    if not unknowns.calls:
        return ""
    of_period = f" ({unknowns.of_period:,} of them {report.period.words})" if unknowns.of_period else ""
    count = counted(unknowns.calls, "call")
    return f"Of {count} nobody knows whether it was billed{of_period}: {unknowns_bound(report)}."


def _budget(budget: BudgetState) -> dict[str, Any]:
    percent = budget.used_percent if budget.used_percent is not None else 100
    tone = "over" if percent >= _OVER_PERCENT else "near" if percent >= _NEAR_PERCENT else "ok"
    title = named(budget.title, 120)
    return {
        "title": capital(title),
        "amounts": f"{usd(budget.spent_nanos)} of {usd(budget.limit_nanos)}",
        "filled": max(0, min(100, percent)),
        "tone": tone,
    }


def _paused(report: Report) -> list[dict[str, str]]:
    rows = []
    for batch in report.paused[:ROWS]:
        job = f"({named(batch.job_name)}) " if batch.job_name else ""
        text = f"{job}{named(batch.reason, 120)}; {counted(batch.open_lines, 'open line')}"
        rows.append({"batch": named(batch.batch), "text": text})
    return rows


def _with_code(text: str) -> Markup:
    """What is in backticks is a command; all of it is escaped."""
    pieces = text.split("`")
    code, plain = Markup("<code>{}</code>"), Markup("{}")
    return Markup("").join(
        (code if nth % 2 else plain).format(piece) for nth, piece in enumerate(pieces) if piece
    )


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("batchmill.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=False,
    )


@cache
def _styles() -> str:
    return (files("batchmill.reports") / "templates" / "report.css").read_text("utf-8")


@cache
def _inliner() -> css_inline.CSSInliner:
    """Media queries stay where they are: they say how it looks on a phone and in the dark."""
    return css_inline.CSSInliner(keep_at_rules=True, minify_css=True, load_remote_stylesheets=False)
