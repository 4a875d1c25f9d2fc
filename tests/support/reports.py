"""Reports made up."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from batchmill.reports.model import (
    BudgetState,
    CacheUse,
    DaySpend,
    Dimension,
    Failure,
    Forecast,
    Latency,
    Month,
    PausedBatch,
    ProviderState,
    Ranking,
    Report,
    Share,
    Spend,
    Unknowns,
)
from batchmill.reports.period import ReportPeriod, day_before
from batchmill.reports.suggestions import Alternative, suggestions_for
from tests.support.budgets import moment_ms

ZONE = "Europe/Berlin"
MADE_MS = moment_ms("2026-11-20T02:00", ZONE)
PERIOD = day_before(MADE_MS, ZONE)
USD = 1_000_000_000


def dollars(amount: float) -> int:
    """So many in nano-dollars, to the cent."""
    return round(amount * 100) * (USD // 100)


def spend(cost: float = 0.0, calls: int = 0, **others: int) -> Spend:
    """What some calls came to."""
    return Spend(cost_nanos=dollars(cost), calls=calls, **others)


def share(name: str, cost: float, before: float, calls: int, hits: int = 0, **others: int) -> Share:
    """What somebody had of it."""
    return Share(name=name, spend=spend(cost, calls, hits=hits, **others), before_nanos=dollars(before))


def ranking(dimension: Dimension, *shares: Share, names: int = 0) -> Ranking:
    """Who had most."""
    movers = sorted(shares, key=lambda one: -abs(one.spend.cost_nanos - one.before_nanos))
    return Ranking(dimension=dimension, shares=shares, movers=tuple(movers[:5]), names=names or len(shares))


def a_report(period: ReportPeriod = PERIOD, **changes: Any) -> Report:
    """One that has something of everything."""
    last = period.last_day
    costs = [3.1, 2.8, 0.4, 0.2, 3.3, 2.9, 3.0, 3.6, 3.2, 0.5, 0.0, 3.1, 3.4, 2.7, 3.9]
    costs += [3.5, 0.6, 0.3, 3.8, 3.6, 3.1, 4.2, 4.0, 0.7, 0.0, 4.4, 4.1, 4.9, 3.68, 4.12]
    days = tuple(
        DaySpend(
            day=(last - timedelta(days=len(costs) - 1 - nth)).isoformat(),
            spend=spend(cost * 10, int(cost * 1_000), unknown=int(nth == 21)),
        )
        for nth, cost in enumerate(costs)
    )
    report = Report(
        period=period,
        made_ms=MADE_MS,
        spend=spend(
            41.20, 18_420, hits=9_310, failed=212, unknown=3, unpriced=12, input_tokens=31_400_000,
            output_tokens=6_210_000,
        ),
        before=spend(36.80, 16_900, hits=7_120, failed=96),
        weekday=spend(42.00, 17_000, hits=6_500),
        month=Month(
            name="November 2026",
            spend=spend(74.31 * 10, 260_000, unknown=3, unpriced=12),
            forecast=Forecast(
                expected_nanos=dollars(1_118), low_nanos=dollars(1_041), high_nanos=dollars(1_196), days=28,
                by_weekday=True,
            ),
            limit_nanos=dollars(1_180),
        ),
        days=days,
        rankings=(
            ranking(
                Dimension.MODEL,
                share("openai/gpt-5.2", 24.12, 19.40, 6_200, 1_900),
                share("anthropic/claude-sonnet-5", 11.03, 12.76, 2_900, 410),
                share("gemini/gemini-3-flash", 4.84, 4.61, 7_800, 6_900),
                share("local/llama-3.3-70b", 0, 0, 1_400, 100, unpriced=12),
                names=9,
            ),
            ranking(
                Dimension.TENANT, share("acme", 30.77, 21.02, 11_000, 6_000),
                share("globex", 10.43, 15.78, 7_420, 3_310)
            ),
            ranking(
                Dimension.USER,
                share("acme/nightly-tagger", 22.90, 14.10, 8_000, 5_500),
                share("acme/alice", 7.87, 6.92, 3_000, 500),
                share("globex/import", 10.43, 15.78, 7_420, 3_310),
            ),
            ranking(
                Dimension.ENDPOINT,
                share("/v1/chat/completions", 39.10, 35.22, 12_400, 8_000),
                share("/v1/embeddings", 2.10, 1.58, 6_020, 1_310),
            ),
            ranking(
                Dimension.TYPE, share("moderation", 18.2, 17.9, 9_000, 7_000),
                share("summary", 23.0, 18.9, 9_420, 2_310)
            ),
        ),
        cache=CacheUse(requests=27_120, hits=9_310, saved_nanos=dollars(12.64)),
        cache_by_type=(
            CacheUse(name="moderation", requests=16_000, hits=7_000, saved_nanos=dollars(8.4)),
            CacheUse(name="summary", requests=11_120, hits=2_310, saved_nanos=dollars(4.24)),
        ),
        failures=(
            Failure(code="rate_limit_exceeded", calls=164, before=71),
            Failure(code="server_error", calls=45, before=25),
            Failure(code="timeout", calls=3, before=0),
        ),
        latency=Latency(calls=18_208, p50_ms=840, p95_ms=4_210, p99_ms=11_800),
        paused=(
            PausedBatch(
                batch="batch_7f3a91c2", job_name="reviews-2026", tenant="globex",
                reason="the daily budget of tenant globex has no room for the next call", open_lines=4_210,
            ),
        ),
        paused_count=1,
        unknowns=Unknowns(calls=4, most_nanos=dollars(0.42), unbounded=1, of_period=3),
        providers=(
            ProviderState(provider="openai", state="ok", since_ms=MADE_MS - 9 * 86_400_000, latency_ms=212),
            ProviderState(
                provider="anthropic", state="failing", since_ms=MADE_MS - 2 * 3_600_000,
                error="overloaded_error: the service is overloaded", resting=("claude-sonnet-5",),
            ),
        ),
        budgets=(
            BudgetState(
                title="the global monthly budget", limit_nanos=dollars(1_180), spent_nanos=dollars(743.1),
                start_ms=moment_ms("2026-11-01", ZONE), end_ms=moment_ms("2026-12-01", ZONE),
            ),
            BudgetState(
                title="the daily budget of tenant globex", limit_nanos=dollars(10.5), spent_nanos=dollars(10.43),
                unknown_nanos=dollars(0.2), start_ms=period.start_ms, end_ms=period.end_ms,
            ),
            BudgetState(
                title="the monthly budget of tenant acme", limit_nanos=dollars(600), spent_nanos=dollars(489.2),
                start_ms=moment_ms("2026-11-01", ZONE), end_ms=moment_ms("2026-12-01", ZONE),
                runs_out_ms=moment_ms("2026-11-24", ZONE),
            ),
        ),
    )  # fmt: skip
    report = replace(report, **changes)
    alternatives = [
        Alternative(
            model="anthropic/claude-sonnet-5", cost_nanos=dollars(11.03), instead="openai/gpt-5.2-mini",
            instead_nanos=dollars(2.31),
        )
    ]  # fmt: skip
    return replace(report, suggestions=suggestions_for(report, alternatives))


def a_quiet_report() -> Report:
    """One of a day on which nothing was asked."""
    days = tuple(
        DaySpend(day=(date(2026, 11, 19) - timedelta(days=29 - nth)).isoformat(), spend=Spend())
        for nth in range(30)
    )
    return Report(
        period=PERIOD, made_ms=MADE_MS, spend=Spend(), before=Spend(), weekday=Spend(),
        month=Month(name="November 2026"), days=days,
    )  # fmt: skip
