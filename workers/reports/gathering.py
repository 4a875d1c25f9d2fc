"""A report is made: what the books and the last looks at providers say of a period, in short reads."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from typing import TypeVar

from batchmill.budgets.model import Period, Scope
from batchmill.budgets.standing import Standing
from batchmill.errors import MisuseError
from batchmill.periods import date_of, days_between, start_of
from batchmill.reports.forecast import LOOKED_BACK_DAYS, forecast_of
from batchmill.reports.model import BudgetState, DaySpend, Dimension, Month, ProviderState, Report, Spend
from batchmill.reports.pace import runs_out_ms
from batchmill.reports.period import ReportPeriod, Span, month_text
from batchmill.reports.suggestions import suggestions_for
from batchmill.settings import Settings
from db.books import rolled_up_to
from db.budgets.standings import standings
from db.engine import Database, Transaction
from db.reports import standing, store, sums
from workers.provider_views import ProviderStanding, State, provider_standings
from workers.reports.alternatives import alternatives_for

T = TypeVar("T")

CHART_DAYS = 30
MOST_BUDGETS = 10


def make_report(
    database: Database,
    settings: Settings,
    period: ReportPeriod,
    *,
    checkpoint: Callable[[], None] = lambda: None,
) -> Report:
    """A report of a period, as things stand now.

    Args:
        checkpoint: Called between steps; what it raises ends the work.

    Raises:
        DatabaseError: It cannot be asked.
        MisuseError: It reaches further back than single entries of the ledger are kept.
        SettingsError: The file of prices is wrong.
    """

    def ask(question: Callable[[Transaction], T]) -> T:
        checkpoint()
        with database.read() as tx:
            return question(tx)

    span, before, weekday = period.span, period.before, period.same_weekday
    _refuse_rolled_up(min(span.start_ms, before.start_ms), ask(rolled_up_to))
    days = [
        DaySpend(day=name, spend=ask(partial(sums.spend_of, span=day))) for name, day in _days_up_to(period)
    ]
    first_ms = ask(sums.first_ms)
    since = None if first_ms is None else date_of(first_ms, period.zone)
    cache, by_type = ask(lambda tx: sums.cache_of(tx, span))
    paused, paused_count = ask(standing.paused)
    budgets = ask(lambda tx: standings(tx, ended_too=False, at_ms=max(period.start_ms, period.end_ms - 1)))
    report = Report(
        period=period,
        made_ms=database.now_ms(),
        spend=ask(lambda tx: sums.spend_of(tx, span)),
        before=ask(lambda tx: sums.spend_of(tx, before)),
        weekday=None if weekday is None else ask(lambda tx: sums.spend_of(tx, weekday)),
        month=_month(period, days, since, budgets),
        days=tuple(days[-CHART_DAYS:]),
        rankings=tuple(
            ask(partial(sums.ranking_of, dimension=dimension, span=span, before=before))
            for dimension in Dimension
        ),
        cache=cache,
        cache_by_type=tuple(by_type),
        failures=tuple(ask(lambda tx: sums.failures_of(tx, span, before))),
        latency=ask(lambda tx: sums.latency_of(tx, span)),
        paused=tuple(paused),
        paused_count=paused_count,
        unknowns=ask(lambda tx: standing.unknowns(tx, span)),
        providers=tuple(map(_provider, _looked_at(database, settings))),
        budgets=tuple(_budget(one, period) for one in sorted(budgets, key=_by_use)[:MOST_BUDGETS]),
        budget_count=len(budgets),
        unsure_mails=ask(lambda tx: store.unsure_since_last(tx, period)),
    )
    alternatives = ask(lambda tx: alternatives_for(tx, settings, report))
    return replace(report, suggestions=suggestions_for(report, alternatives))


def _refuse_rolled_up(since_ms: int, rolled_ms: int) -> None:
    if since_ms <= rolled_ms:
        raise MisuseError(
            "the report, or the period before that it is compared with, reaches further back than single entries of"
            " the ledger are kept",
            "`batchmill usage` adds up any period; BATCHMILL_KEEP_LEDGER_DAYS says how long entries are kept",
        )


def _days_up_to(period: ReportPeriod) -> list[tuple[str, Span]]:
    """The last days up to the period's end, enough for the month, the chart and the forecast; the last may not be
    over."""
    zone, last = period.zone, period.last_day
    looked_back = max(CHART_DAYS, LOOKED_BACK_DAYS + 1, last.day)
    since_ms = start_of(last - timedelta(days=looked_back - 1), zone)
    return [
        (day.name, Span(start_ms=day.start_ms, end_ms=min(day.end_ms, period.end_ms)))
        for day in days_between(since_ms, period.end_ms, zone)
    ]


def _month(
    period: ReportPeriod, days: Sequence[DaySpend], since: date | None, budgets: Sequence[Standing]
) -> Month:
    last = period.last_day
    is_whole = start_of(last + timedelta(days=1), period.zone) <= period.end_ms
    by_day = {date.fromisoformat(one.day): one.spend for one in days}
    to_date = sum(
        (spend for day, spend in by_day.items() if (day.year, day.month) == (last.year, last.month)), Spend()
    )
    today = Spend() if is_whole else by_day.get(last, Spend())
    known = {
        day: spend.cost_nanos
        for day, spend in by_day.items()
        if since is not None and day >= since and (is_whole or day != last)
    }
    coming = _rest_of_month(last + timedelta(days=int(is_whole)), last)
    forecast = forecast_of(
        known,
        coming,
        spent_nanos=to_date.cost_nanos - today.cost_nanos,
        today_nanos=today.cost_nanos,
    )
    return Month(
        name=month_text(last),
        spend=to_date,
        forecast=forecast if coming else None,
        limit_nanos=_monthly_limit(budgets),
        is_over=not coming,
    )


def _rest_of_month(first: date, of: date) -> list[date]:
    days = (first + timedelta(days=nth) for nth in range(31))
    return [day for day in days if (day.year, day.month) == (of.year, of.month)]


def _monthly_limit(budgets: Sequence[Standing]) -> int | None:
    """The least of the global monthly budgets: one may be set by command, one by variable."""
    limits = [
        one.balance.limit_nanos
        for one in budgets
        if one.budget.scope is Scope.GLOBAL and one.budget.period is Period.MONTH
    ]
    return min(limits, default=None)


def _by_use(one: Standing) -> tuple[bool, float]:
    return one.budget.scope is not Scope.GLOBAL, -(one.used_percent or 0)


def _budget(one: Standing, period: ReportPeriod) -> BudgetState:
    balance = one.balance
    return BudgetState(
        title=one.budget.title,
        limit_nanos=balance.limit_nanos,
        spent_nanos=balance.spent_nanos,
        unknown_nanos=balance.unknown_nanos,
        start_ms=one.start_ms,
        end_ms=one.end_ms,
        runs_out_ms=runs_out_ms(
            limit_nanos=balance.limit_nanos,
            spent_nanos=balance.spent_nanos,
            start_ms=one.start_ms,
            now_ms=period.end_ms,
            end_ms=one.end_ms,
        ),
    )


def _looked_at(database: Database, settings: Settings) -> list[ProviderStanding]:
    return [one for one in provider_standings(database, settings) if one.state is not State.NOT_SET_UP]


def _provider(one: ProviderStanding) -> ProviderState:
    health = one.health
    resting = tuple(rest.target.model for rest in one.resting)
    if health is None:
        return ProviderState(provider=one.account.name.value, state=one.state.value, resting=resting)
    return ProviderState(
        provider=one.account.name.value,
        state=one.state.value,
        since_ms=health.since_ms,
        checked_ms=health.at_ms,
        latency_ms=health.last.latency_ms,
        error=": ".join(part for part in (health.last.error_code, health.last.error_message) if part),
        resting=resting,
    )
