"""What reports read from the ledger is what plain Python adds up, to the nano-dollar, on both databases."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from batchmill.budgets.model import Period
from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.catalogue.prices import ModelPrices
from batchmill.reports.model import Dimension, Latency, Spend
from batchmill.reports.period import ReportPeriod, Span, day_before
from batchmill.reports.suggestions import Rule
from batchmill.settings import Settings, load_settings
from db import catalogue
from db.engine import Database
from db.reports import standing, sums
from db.tables import ledger
from tests.conformance.test_usage import entry
from tests.support.budgets import add_budget, enter, moment_ms
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch
from tests.support.replies import ANSWERED, PRICE_NANOS, UNKNOWN
from workers.reports.gathering import make_report

DAY_MS = 86_400_000
NOW_MS = moment_ms("2026-11-06T02:00", "Europe/Berlin")
PERIOD = day_before(NOW_MS, "Europe/Berlin")
SPAN, BEFORE = PERIOD.span, PERIOD.before
NAMES: dict[Dimension, Callable[[dict[str, Any]], str]] = {
    Dimension.MODEL: lambda row: f"{row['provider']}/{row['model']}",
    Dimension.TENANT: lambda row: row["tenant"],
    Dimension.USER: lambda row: f"{row['tenant']}/{row['user_id']}" if row["user_id"] else "",
    Dimension.ENDPOINT: lambda row: row["endpoint"],
    Dimension.TYPE: lambda row: row["request_type"],
}


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """An entry of one of the days around; what is not known is so for a reason."""
    kind = draw(st.sampled_from(["call", "call", "hit", "correction"]))
    cost = draw(st.none() | st.integers(0, 10**15))
    is_unknown = kind == "call" and cost is None and draw(st.booleans())
    few = st.sampled_from(["", "a", "b", "c"])
    return entry(
        at_ms=draw(st.integers(BEFORE.start_ms - DAY_MS, SPAN.end_ms + DAY_MS)),
        kind=kind,
        attempt_id=None if kind == "hit" else draw(st.integers(1, 6)),
        request_id=draw(st.integers(1, 9)),
        model=draw(few),
        provider=draw(few),
        tenant=draw(few),
        user_id=draw(few),
        request_type=draw(few),
        endpoint=draw(few),
        input_tokens=draw(st.integers(0, 10**9)),
        output_tokens=draw(st.integers(0, 10**9)),
        latency_ms=draw(st.integers(0, 5)),
        cost_nanos=0 if kind == "hit" else cost,
        cost_reason="unknown_outcome" if is_unknown else "",
        success=kind != "call" or draw(st.booleans()),
        error=draw(few),
    )  # fmt: skip


def write(database: Database, rows: Sequence[dict[str, Any]]) -> None:
    """Make these the whole ledger."""
    with database.write() as tx:
        tx.run(delete(ledger))
        if rows:
            tx.connection.execute(insert(ledger), list(rows))


def within(rows: Sequence[dict[str, Any]], span: Span) -> list[dict[str, Any]]:
    """Those of a period."""
    return [row for row in rows if span.start_ms <= row["at_ms"] < span.end_ms]


def added(rows: Sequence[dict[str, Any]], every: Sequence[dict[str, Any]], since_ms: int) -> Spend:
    """What these come to, in plain words."""
    corrected = {
        row["attempt_id"] for row in every if row["kind"] == "correction" and row["at_ms"] >= since_ms
    }
    calls = [row for row in rows if row["kind"] == "call"]
    return Spend(
        cost_nanos=sum(row["cost_nanos"] or 0 for row in rows),
        calls=len(calls),
        hits=sum(row["kind"] == "hit" for row in rows),
        failed=sum(not row["success"] for row in calls),
        unknown=sum(bool(row["cost_reason"]) and row["attempt_id"] not in corrected for row in calls),
        unpriced=sum(row["cost_nanos"] is None and not row["cost_reason"] for row in rows),
        input_tokens=sum(row["input_tokens"] for row in rows),
        output_tokens=sum(row["output_tokens"] for row in rows),
    )


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(entries(), max_size=25))
def test_every_number_is_the_ledgers(database: Database, rows: list[dict[str, Any]]) -> None:
    """Sums, rankings, changes, failures, percentiles and hits."""
    write(database, rows)
    now, before = within(rows, SPAN), within(rows, BEFORE)
    with database.read() as tx:
        assert sums.spend_of(tx, SPAN) == added(now, rows, SPAN.start_ms)
        assert sums.spend_of(tx, BEFORE) == added(before, rows, BEFORE.start_ms)
        for dimension, name_of in NAMES.items():
            found = sums.ranking_of(tx, dimension, SPAN, BEFORE)
            spent = Counter[str]()
            for row in now:
                spent[name_of(row)] += row["cost_nanos"] or 0
            used = {name_of(row) for row in now if row["kind"] != "correction" or spent[name_of(row)]}
            assert found.names == len(used)
            assert [share.name for share in found.shares] == sorted(
                used, key=lambda name: _order(name, name_of, now)
            )
            for share in (*found.shares, *found.movers):
                own = [row for row in now if name_of(row) == share.name]
                assert share.spend == added(own, rows, SPAN.start_ms)
                was = sum(row["cost_nanos"] or 0 for row in before if name_of(row) == share.name)
                assert share.before_nanos == was
            assert {share.name for share in found.movers} == _moved(name_of, now, before)
        failed = Counter(row["error"] for row in now if row["kind"] == "call" and not row["success"])
        failures = sums.failures_of(tx, SPAN, BEFORE)
        assert {one.code: one.calls for one in failures} == failed
        was_failed = Counter(row["error"] for row in before if row["kind"] == "call" and not row["success"])
        assert all(one.before == was_failed[one.code] for one in failures)
        assert sums.latency_of(tx, SPAN) == _latency(now)
        cache, by_type = sums.cache_of(tx, SPAN)
        asked = [row for row in now if row["kind"] != "correction"]
        assert cache.hits == sum(row["kind"] == "hit" for row in now)
        assert {one.name: one.requests for one in by_type} == {
            name: len({row["request_id"] for row in asked if row["request_type"] == name})
            for name in {row["request_type"] for row in asked}
        }


def _order(name: str, name_of: Callable[[dict[str, Any]], str], rows: Sequence[dict[str, Any]]) -> Any:
    own = [row for row in rows if name_of(row) == name]
    return -sum(row["cost_nanos"] or 0 for row in own), -sum(row["kind"] == "call" for row in own), name


def _moved(
    name_of: Callable[[dict[str, Any]], str], now: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]]
) -> set[str]:
    change: Counter[str] = Counter()
    for sign, rows in ((1, now), (-1, before)):
        for row in rows:
            change[name_of(row)] += sign * (row["cost_nanos"] or 0)
    ranked = sorted(change, key=lambda name: (-abs(change[name]), name))[: sums.MOST_SHARES]
    return {name for name in ranked if change[name]}


def _latency(rows: Sequence[dict[str, Any]]) -> Latency | None:
    times = sorted(row["latency_ms"] for row in rows if row["kind"] == "call" and row["success"])
    if not times:
        return None
    ranks = {percent: times[-(-len(times) * percent // 100) - 1] for percent in (50, 95, 99)}
    return Latency(calls=len(times), p50_ms=ranks[50], p95_ms=ranks[95], p99_ms=ranks[99])


def made(database: Database, clock: FakeClock, settings: Settings, period: ReportPeriod = PERIOD) -> Any:
    """The report of the day before, made at night."""
    clock.advance(NOW_MS - clock.now_ms())
    return make_report(database, settings, period)


def test_what_the_cache_saved(database: Database, clock: FakeClock) -> None:
    """A hit saves what the call had cost whose answer it got."""
    clock.advance(SPAN.start_ms - clock.now_ms())
    worker = Worker(database)
    for _ in range(3):
        add_batch(database, ["same"], request_type="faq")
        jobs = worker.take()
        worker.answer(ANSWERED, *jobs)
    with database.read() as tx:
        cache, by_type = sums.cache_of(tx, Span(start_ms=SPAN.start_ms, end_ms=clock.now_ms() + 1))
    assert (cache.requests, cache.hits, cache.saved_nanos) == (3, 2, 2 * PRICE_NANOS)
    assert [(one.name, one.hits) for one in by_type] == [("faq", 2)]


def test_calls_nobody_knows_of(database: Database, clock: FakeClock) -> None:
    """They are counted with the most that they can have cost, and those without a bound beside."""
    clock.advance(SPAN.start_ms - clock.now_ms())
    add_batch(database, 3)
    worker = Worker(database)
    first, second, third = worker.take()
    sent = [*worker.send(first, second, hold_nanos=700), *worker.send(third)]
    worker.settle(*((attempt, UNKNOWN) for attempt in sent))
    with database.read() as tx:
        found = standing.unknowns(tx, SPAN)
        other = standing.unknowns(tx, BEFORE)
    assert (found.calls, found.most_nanos, found.unbounded, found.of_period) == (3, 1_400, 1, 3)
    assert (other.calls, other.of_period) == (3, 0)


def test_a_report_is_made(database: Database, clock: FakeClock, settings: Settings) -> None:
    """Of a day in a month with a budget: the month's share, the forecast, the days, and what to look at."""
    dollar = 1_000_000_000
    days = ((f"2026-11-0{day}T12:00", day * dollar) for day in range(1, 6))
    enter(database, [{"at_ms": moment_ms(at, "Europe/Berlin"), "cost_nanos": cost} for at, cost in days])
    clock.advance(SPAN.start_ms - clock.now_ms())
    add_budget(database, 20 * dollar, period=Period.MONTH, zone="Europe/Berlin")
    report = made(database, clock, settings)
    assert (report.spend.cost_nanos, report.before.cost_nanos) == (5 * dollar, 4 * dollar)
    assert report.weekday == Spend()
    assert (report.month.spend.cost_nanos, report.month.limit_nanos) == (15 * dollar, 20 * dollar)
    assert report.month.forecast is not None
    assert (report.month.forecast.expected_nanos, report.month.forecast.days) == (90 * dollar, 5)
    assert [day.spend.cost_nanos // dollar for day in report.days] == [0] * 25 + [1, 2, 3, 4, 5]
    assert report.days[-1].day == "2026-11-05"


def test_a_dear_model_and_its_alternative(database: Database, clock: FakeClock, tmp_path: Any) -> None:
    """The catalogue has one that is as good for a fraction of the price: that is suggested, with both amounts."""
    settings = load_settings(
        {"DATABASE_URL": database.url, "BATCHMILL_HOME": str(tmp_path), "OPENAI_API_KEY": "k"}, None
    )
    with database.write() as tx:
        for model, price in (("dear", 10_000_000_000), ("fair", 1_000_000_000), ("poor", 1)):
            prices = ModelPrices(input_nanos_per_mtok=price, output_nanos_per_mtok=price)
            quality = 0.5 if model == "poor" else 0.9
            catalogue.add(
                tx,
                ModelEntry(provider="openai", model=model, tier=Tier.NORMAL, prices=prices, quality=quality),
            )
    row = {"model": "dear", "input_tokens": 2_000_000, "output_tokens": 100_000, "cost_nanos": 21_000_000_000}
    enter(database, [{"at_ms": SPAN.start_ms, **row}])
    [found] = made(database, clock, settings).suggestions
    assert found.rule is Rule.CHEAPER_MODEL
    assert "openai/dear cost $21.00; by the catalogue openai/fair is as good" in found.text
    assert "the same tokens cost $2.10 there" in found.text


def test_nothing_at_all(database: Database, clock: FakeClock, settings: Settings) -> None:
    """An empty ledger makes a report, which says so."""
    report = made(database, clock, settings)
    assert report.spend.is_quiet
    assert report.month.forecast is None
    assert (report.latency, report.paused, report.failures) == (None, (), ())
