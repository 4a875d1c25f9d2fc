"""A report as plain text: for a terminal, and for mail programs that show no HTML."""

from collections.abc import Iterator, Sequence

from batchmill.reports.lines import (
    budget_line,
    cache_line,
    compared,
    forecast_line,
    in_the_month,
    latency_line,
    provider_line,
)
from batchmill.reports.model import Dimension, Report, Share
from batchmill.reports.suggestions import unknowns_bound
from batchmill.reports.verdict import verdict_of
from batchmill.reports.words import change_text, counted, moment_text, named, not_in_it, share_text, usd

_WIDTH = 78
_LONGEST = 44
HEADINGS = {
    Dimension.MODEL: "Models",
    Dimension.TENANT: "Tenants",
    Dimension.USER: "Users",
    Dimension.ENDPOINT: "Endpoints",
    Dimension.TYPE: "Request types",
}


def text_of(report: Report) -> str:
    """All of it, in lines of some eighty characters."""
    lines = [*_head(report), *_body(report), ""]
    return "\n".join(line.rstrip() for line in lines)


def _head(report: Report) -> Iterator[str]:
    yield verdict_of(report)
    yield ""
    yield f"{report.period.title} ({report.period.timezone})"
    for line in compared(report):
        yield f"  {line}"
    yield f"  {in_the_month(report.month)}"
    yield f"  {forecast_line(report.month)}"
    if not report.spend.is_certain:
        yield f"  Not in the cost: {not_in_it(report.spend)}."
    if report.suggestions:
        yield from _heading("To look at")
        for suggestion in report.suggestions:
            yield from _wrapped(suggestion.text)


def _body(report: Report) -> Iterator[str]:
    for ranking in report.rankings:
        if any(share.name for share in ranking.shares):
            more = ranking.names - len(ranking.shares)
            yield from _heading(HEADINGS[ranking.dimension])
            yield from _table([_share(share) for share in ranking.shares])
            if more > 0:
                yield f"  and {more:,} more"
    yield from _movers(report)
    yield from _heading("Cache")
    yield f"  {cache_line(report.cache)}"
    for one in report.cache_by_type:
        if one.name:
            yield f"  {named(one.name, _LONGEST)}: {cache_line(one)}"
    yield from _heading("Calls")
    yield f"  {latency_line(report.latency)}"
    if not report.failures:
        yield "  No call failed."
    for failure in report.failures:
        yield f"  {named(failure.code)}: {failure.calls:,} ({report.period.before_words}: {failure.before:,})"
    if report.unknowns.calls:
        unknown = counted(report.unknowns.calls, "call")
        yield f"  Not known whether billed: {unknown}, {unknowns_bound(report)}."
    yield from _standing(report)


def _movers(report: Report) -> Iterator[str]:
    moved = movers_of(report)
    if moved:
        yield from _heading("Biggest changes")
        yield from _table(
            [(f"{dimension} {named(share.name, _LONGEST)}", *from_to(share)) for dimension, share in moved]
        )


def movers_of(report: Report, most: int = 5) -> list[tuple[Dimension, Share]]:
    """The models, tenants, users and types whose cost has changed most, by more than a cent."""
    cent = 10_000_000
    moved: list[tuple[Dimension, Share]] = [
        (ranking.dimension, share)
        for ranking in report.rankings
        if ranking.dimension is not Dimension.ENDPOINT
        for share in ranking.movers
        if share.name and abs(share.spend.cost_nanos - share.before_nanos) >= cent
    ]
    moved.sort(key=lambda one: -abs(one[1].spend.cost_nanos - one[1].before_nanos))
    return moved[:most]


def from_to(share: Share) -> tuple[str, str]:
    """What it cost before and now, and by how much that has changed."""
    amounts = f"{usd(share.before_nanos)} to {share_text(share.spend)}"
    change = change_text(share.spend.cost_nanos, share.before_nanos)
    return amounts, change or "new"


def _standing(report: Report) -> Iterator[str]:
    zone = report.period.zone
    if report.budgets:
        yield from _heading("Budgets")
        for budget in report.budgets:
            yield f"  {budget_line(budget, zone)}"
        if report.budget_count > len(report.budgets):
            yield f"  and {report.budget_count - len(report.budgets):,} more, less used"
    if report.paused:
        yield from _heading("Paused batches")
        for batch in report.paused:
            job = f" ({named(batch.job_name)})" if batch.job_name else ""
            open_lines = counted(batch.open_lines, "open line")
            yield f"  {named(batch.batch)}{job}: {named(batch.reason, 120)}; {open_lines}"
        if report.paused_count > len(report.paused):
            yield f"  and {report.paused_count - len(report.paused):,} more"
    if report.providers:
        yield from _heading("Providers")
        for provider in report.providers:
            yield f"  {provider_line(provider, zone)}"
    yield ""
    yield f"Made {moment_text(report.made_ms, zone)}; budgets, batches and providers are as of then."


def _share(share: Share) -> tuple[str, ...]:
    calls = f"{counted(share.spend.calls, 'call')}, {counted(share.spend.hits, 'hit')}"
    change = change_text(share.spend.cost_nanos, share.before_nanos)
    return named(share.name, _LONGEST), share_text(share.spend), change, calls


def _heading(text: str) -> Iterator[str]:
    yield ""
    yield text.upper()


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    for row in rows:
        first, *others = (
            cell.ljust(width) if column in (0, 3) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  " + "  ".join([first, *others])


def _wrapped(text: str) -> Iterator[str]:
    line = "  -"
    for word in text.split():
        if len(line) + len(word) + 1 > _WIDTH:
            yield line
            line = "   "
        line += f" {word}"
    yield line
