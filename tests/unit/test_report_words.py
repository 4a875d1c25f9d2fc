"""What a report says: the verdict, the period's name, the suggestions."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from batchmill.reports.model import (
    BudgetState,
    CacheUse,
    Dimension,
    Failure,
    Forecast,
    Month,
    Report,
    Rule,
    Spend,
    Unknowns,
)
from batchmill.reports.period import day_before, span_period, week_before
from batchmill.reports.suggestions import Alternative, suggestions_for
from batchmill.reports.verdict import verdict_of
from tests.support.budgets import moment_ms
from tests.support.reports import MADE_MS, PERIOD, a_quiet_report, a_report, dollars, ranking, share, spend

FORECAST = Forecast(
    expected_nanos=dollars(118), low_nanos=dollars(101), high_nanos=dollars(135), days=19, by_weekday=True
)
MONTH = Month(name="November 2026", spend=spend(74.34), forecast=FORECAST, limit_nanos=dollars(118))


def plain(**changes: Any) -> Report:
    """One about which there is nothing to say."""
    report = Report(
        period=PERIOD, made_ms=MADE_MS, spend=spend(41.2, 100), before=spend(36.8, 90), month=MONTH
    )
    return replace(report, **changes)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "$41.20 yesterday (+12 %), 63 % of month, forecast $118"),
        ({"before": Spend()}, "$41.20 yesterday, 63 % of month, forecast $118"),
        (
            {"spend": spend(41.2, 100, unknown=1)},
            "at least $41.20 yesterday (+12 %), 63 % of month, forecast $118",
        ),
        (
            {"spend": spend(41.2, 100, unpriced=1)},
            "at least $41.20 yesterday (+12 %), 63 % of month, forecast $118",
        ),
        ({"spend": Spend()}, "no calls yesterday, 63 % of month, forecast $118"),
        ({"spend": spend(3, 0)}, "$3.00 yesterday (-92 %), 63 % of month, forecast $118"),
        ({"spend": Spend(hits=3)}, "$0.00 yesterday (-100 %), 63 % of month, forecast $118"),
        (
            {"month": replace(MONTH, limit_nanos=None)},
            "$41.20 yesterday (+12 %), $74.34 this month, forecast $118",
        ),
        (
            {"month": replace(MONTH, limit_nanos=dollars(100))},
            "$41.20 yesterday (+12 %), 74 % of month, forecast $118, over the budget of $100",
        ),
        (
            {"month": replace(MONTH, forecast=None)},
            "$41.20 yesterday (+12 %), 63 % of month, forecast: insufficient data",
        ),
        ({"month": replace(MONTH, forecast=None, is_over=True)}, "$41.20 yesterday (+12 %), 63 % of month"),
        (
            {"period": week_before(MADE_MS, "UTC")},
            "$41.20 last week (+12 %), 63 % of month, forecast $118",
        ),
        (
            {"period": span_period(MADE_MS - 7 * 86_400_000, MADE_MS - 1, "UTC")},
            "$41.20 in 8 days (+12 %), 63 % of month, forecast $118",
        ),
    ],
)
def test_the_verdict(changes: dict[str, Any], verdict: str) -> None:
    """A report in one line of ASCII; what is not known is not taken for nothing."""
    assert verdict_of(plain(**changes)) == verdict
    assert verdict.isascii()


@pytest.mark.parametrize(
    ("due", "start", "end"),
    [
        ("2026-11-06T02:00", "2026-11-05", "2026-11-06"),
        ("2026-10-26T02:00", "2026-10-25", "2026-10-26"),
        ("2026-03-30T00:00", "2026-03-29", "2026-03-30"),
        ("2027-01-01T02:00", "2026-12-31", "2027-01-01"),
    ],
)
def test_the_day_before(due: str, start: str, end: str) -> None:
    """The calendar day before the one it is due on, also where the clocks change."""
    zone = "Europe/Berlin"
    found = day_before(moment_ms(due, zone), zone)
    assert (found.start_ms, found.end_ms) == (moment_ms(start, zone), moment_ms(end, zone))
    assert found.name == f"daily-{start}"
    assert found.before.end_ms == found.start_ms


def test_what_a_period_is_held_against() -> None:
    """The days before it; a span that is not over as far into them; the same weekday by the calendar."""
    zone = "Europe/Berlin"
    day = day_before(moment_ms("2026-10-26T02:00", zone), zone)
    assert day.same_weekday is not None
    assert day.same_weekday.start_ms == moment_ms("2026-10-18", zone)
    assert day.same_weekday.end_ms == moment_ms("2026-10-19", zone)
    week = week_before(moment_ms("2026-11-18T02:00", zone), zone)
    assert (week.start_ms, week.before.start_ms) == (
        moment_ms("2026-11-09", zone),
        moment_ms("2026-11-02", zone),
    )
    assert week.title == "9 November to 15 November 2026"
    span = span_period(moment_ms("2026-11-14", zone), moment_ms("2026-11-20T10:00", zone), zone)
    assert span.days == 7
    assert span.before.start_ms == moment_ms("2026-11-07", zone)
    assert span.before.end_ms == moment_ms("2026-11-13T10:00", zone)
    left_out = day_before(moment_ms("2011-12-31T02:00", "Pacific/Apia"), "Pacific/Apia")
    assert left_out.name == "daily-2011-12-29"


def rules_of(report: Report, *alternatives: Alternative) -> list[Rule]:
    """Why something is suggested."""
    return [one.rule for one in suggestions_for(report, alternatives)]


def budget(spent: float, **others: Any) -> BudgetState:
    """A monthly budget of $100."""
    return BudgetState(
        title="the global monthly budget", limit_nanos=dollars(100), spent_nanos=dollars(spent), start_ms=0,
        end_ms=MADE_MS + 1, **others,
    )  # fmt: skip


def test_nothing_stands_out() -> None:
    """Then nothing is suggested, on a quiet day neither."""
    assert rules_of(plain()) == []
    assert rules_of(a_quiet_report()) == []


@pytest.mark.parametrize(
    ("changes", "rule", "said"),
    [
        ({"budgets": (budget(100),)}, Rule.BUDGET_USED_UP, "is used up ($100.00 of $100.00)"),
        (
            {"budgets": (budget(80, runs_out_ms=moment_ms("2026-11-24")),)},
            Rule.BUDGET_RUNS_OUT,
            "will be used up on 24 November",
        ),
        (
            {
                "spend": spend(1, 100, failed=9),
                "before": spend(1, 100, failed=4),
                "failures": (Failure(code="x", calls=9),),
            },
            Rule.FAILURES_RISE,
            "9 % of the calls failed, most of them x; the day before it was 4 %",
        ),
        (
            {"unknowns": Unknowns(calls=4, most_nanos=dollars(0.42), unbounded=1)},
            Rule.UNKNOWN_CALLS,
            "4 calls may have been billed without an answer, $0.42 at most and 1 of them without a known bound",
        ),
        (
            {
                "spend": spend(1, 9, unpriced=2),
                "rankings": (ranking(Dimension.MODEL, share("local/m", 0, 0, 9, unpriced=2)),),
            },
            Rule.UNPRICED_ANSWERS,
            "2 answers without a known price, most of them of local/m",
        ),
        (
            {"cache_by_type": (CacheUse(name="faq", requests=100, hits=30),)},
            Rule.FEW_HITS,
            "Only 30 % of the 100 requests of type faq",
        ),
        ({"unsure_mails": 1}, Rule.MAIL_UNSURE, "Of 1 mail with an earlier report nobody knows"),
    ],
)  # fmt: skip
def test_what_stands_out_is_told_with_its_reason(changes: dict[str, Any], rule: Rule, said: str) -> None:
    """Each rule fires where it should, and says why."""
    [found] = suggestions_for(plain(**changes))
    assert found.rule is rule
    assert said in found.text


@pytest.mark.parametrize(
    "changes",
    [
        {"spend": spend(1, 100, failed=9), "before": spend(1, 100, failed=5)},  # not twice as many
        {"spend": spend(1, 19, failed=9), "before": spend(1, 100)},  # too few to say so
        {"cache_by_type": (CacheUse(name="faq", requests=100, hits=4),)},  # does not repeat
        {"cache_by_type": (CacheUse(name="faq", requests=100, hits=60),)},
        {"cache_by_type": (CacheUse(name="faq", requests=99, hits=30),)},
        {"budgets": (budget(99),)},
    ],
)
def test_what_does_not_stand_out(changes: dict[str, Any]) -> None:
    """Each rule keeps still below its line."""
    assert rules_of(plain(**changes)) == []


def test_the_most_urgent_first_and_not_too_many() -> None:
    """Eight things at most, two of a kind: what stops work comes before what saves a little."""
    rules = [one.rule for one in a_report().suggestions]
    assert rules[:3] == [Rule.BUDGET_RUNS_OUT, Rule.PROVIDER_FAILING, Rule.BATCHES_PAUSED]
    assert len(rules) <= 8
    assert max(map(rules.count, rules)) <= 2
    dear = Alternative(model="a/b", cost_nanos=dollars(9), instead="c/d", instead_nanos=dollars(1))
    same = Alternative(model="a/b", cost_nanos=5, instead="c/d", instead_nanos=1)
    assert rules_of(plain(), dear, same) == [Rule.CHEAPER_MODEL]


def test_a_period_is_told_by_its_zone() -> None:
    """It says which."""
    at = int(datetime(2026, 11, 5, 23, 30, tzinfo=UTC).timestamp() * 1000)
    assert day_before(at, "UTC").name == "daily-2026-11-04"
    assert day_before(at, "Europe/Berlin").name == "daily-2026-11-05"
