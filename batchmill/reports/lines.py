"""Lines that a report says in text and in HTML alike."""

from collections.abc import Iterator
from datetime import tzinfo

from batchmill.reports.model import BudgetState, CacheUse, Latency, Month, ProviderState, Report, Spend
from batchmill.reports.words import (
    capital,
    change_text,
    counted,
    date_text,
    milliseconds,
    moment_text,
    named,
    rough_usd,
    short_count,
    spend_text,
    usd,
)

_MOST_RESTING = 5


def compared(report: Report) -> Iterator[str]:
    """The period, and what it is held against."""
    spend = report.spend
    if spend.is_quiet:
        yield f"No calls {report.period.words}."
    else:
        used = f"{short_count(spend.input_tokens)} tokens in, {short_count(spend.output_tokens)} out"
        asked = f"{counted(spend.calls, 'call')} and {counted(spend.hits, 'hit')}"
        yield f"{capital(spend_text(spend))} for {asked}; {used}."
    yield against(report.period.before_words, spend, report.before)
    if report.weekday is not None:
        yield against("the same weekday last week", spend, report.weekday)


def against(when: str, spend: Spend, other: Spend) -> str:
    """One of those: `The day before: $36.80 (+12 %)`."""
    if other.is_quiet:
        return f"{capital(when)}: no calls."
    change = change_text(spend.cost_nanos, other.cost_nanos)
    return f"{capital(when)}: {spend_text(other)}" + (f" ({change})." if change else ".")


def in_the_month(month: Month) -> str:
    """The month to date."""
    amount = f"{month.name} so far: {spend_text(month.spend)}"
    if month.is_over:
        amount = f"{month.name}: {spend_text(month.spend)}"
    if month.limit_nanos is None:
        return f"{amount}."
    return f"{amount}, {month.used_percent or 0} % of the budget of {usd(month.limit_nanos)}."


def forecast_line(month: Month) -> str:
    """What it will come to, and by what that is known."""
    forecast = month.forecast
    if month.is_over:
        return "The month is over."
    if forecast is None:
        return "Forecast: insufficient data (it takes three days)."
    basis = "the mean of each weekday" if forecast.by_weekday else "the mean of the days known"
    return (
        f"Forecast of the month: {rough_usd(forecast.expected_nanos)}, with 80 % between"
        f" {rough_usd(forecast.low_nanos)} and {rough_usd(forecast.high_nanos)}; by {basis},"
        f" over {counted(forecast.days, 'day')}."
    )


def cache_line(cache: CacheUse) -> str:
    """How many requests needed no call, and what that saved."""
    if cache.hit_percent is None:
        return "no requests"
    hits = f"{cache.hit_percent} % of {counted(cache.requests, 'request')} answered without a call"
    return f"{hits}, {usd(cache.saved_nanos)} saved"


def latency_line(latency: Latency | None) -> str:
    """How long the answered calls took."""
    if latency is None:
        return "No call was answered."
    p50, p95, p99 = map(milliseconds, (latency.p50_ms, latency.p95_ms, latency.p99_ms))
    return f"Half of the answers took {p50} at most, 95 % {p95}, 99 % {p99}."


def budget_line(budget: BudgetState, zone: tzinfo) -> str:
    """Where a budget stands."""
    title = named(budget.title, 120)
    percent = "" if budget.used_percent is None else f" ({budget.used_percent} %)"
    return f"{title}: {usd(budget.spent_nanos)} of {usd(budget.limit_nanos)}{percent}{budget_remarks(budget, zone)}"


def budget_remarks(budget: BudgetState, zone: tzinfo) -> str:
    """What is to be said beside the amounts."""
    said = ""
    if budget.unknown_nanos:
        said += f", {usd(budget.unknown_nanos)} of it perhaps not billed"
    if budget.runs_out_ms is not None:
        said += f", used up on {date_text(budget.runs_out_ms, zone)} if it goes on like this"
    return said


def provider_line(provider: ProviderState, zone: tzinfo) -> str:
    """How a provider is."""
    return f"{provider.provider}: {provider_words(provider, zone)}"


def provider_words(provider: ProviderState, zone: tzinfo) -> str:
    """The same without its name."""
    said = provider.state.replace("_", " ")
    if provider.since_ms is not None:
        said += f" since {moment_text(provider.since_ms, zone)}"
    if provider.latency_ms is not None and not provider.error:
        said += f", answers in {milliseconds(provider.latency_ms)}"
    if provider.error:
        said += f": {named(provider.error, 160)}"
    if provider.resting:
        said += (
            f"; left alone for now: {', '.join(named(model) for model in provider.resting[:_MOST_RESTING])}"
        )
        if len(provider.resting) > _MOST_RESTING:
            said += f" and {len(provider.resting) - _MOST_RESTING} more"
    return said
