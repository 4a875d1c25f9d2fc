"""Usage: whatever it is added up by, it is the ledger, to the nano-dollar."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import combinations
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from batchmill.errors import NotFoundError
from batchmill.money.summary import Column, Selection, Summary
from batchmill.requests.ids import request_id
from db.engine import Database
from db.tables import ledger
from db.usage import summarize
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, batch_of
from tests.support.replies import ANSWERED, PRICE_NANOS, UNKNOWN

BERLIN = ZoneInfo("Europe/Berlin")
EVERYTHING = Selection()
BEGIN_MS = 1_800_000_000_000
PLAIN = {
    Column.MODEL: "model",
    Column.PROVIDER: "provider",
    Column.TENANT: "tenant",
    Column.USER: "user_id",
    Column.AGENT: "agent",
    Column.TYPE: "request_type",
    Column.ENDPOINT: "endpoint",
}


def entry(at_ms: int = BEGIN_MS, **values: Any) -> dict[str, Any]:
    """One row of the ledger."""
    kind = values.get("kind", "call")
    return {
        "at_ms": at_ms,
        "kind": kind,
        "batch_id": 1,
        "request_id": request_id(1, 1),
        "attempt_id": None,
        "request_type": "",
        "endpoint": "/v1/chat/completions",
        "tenant": "local",
        "user_id": "",
        "agent": "",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "input_tokens": 0,
        "cached_tokens": 0,
        "output_tokens": 0,
        "cost_nanos": 0,
        "cost_reason": "",
        "cache_hit": kind == "hit",
        "success": True,
    } | values


def write(database: Database, entries: Sequence[dict[str, Any]]) -> None:
    """Make these the whole ledger."""
    with database.write() as tx:
        tx.run(delete(ledger))
        if entries:
            tx.connection.execute(insert(ledger), list(entries))


def summary_of(
    database: Database, *by: Column, since_ms: int | None = None, until_ms: int | None = None, **only: str
) -> Summary:
    """The ledger added up."""
    selection = Selection(
        since_ms=since_ms, until_ms=until_ms, only={Column(name): value for name, value in only.items()}
    )
    return summarize(database, by, selection, zone=BERLIN)


def costs(summary: Summary) -> dict[tuple[str, ...], int]:
    """Cost by names."""
    return {tuple(group.names.values()): group.sums.cost_nanos for group in summary.groups}


few = st.sampled_from(["", "a", "b"])
entries_made_up = st.lists(
    st.builds(
        entry,
        at_ms=st.integers(BEGIN_MS, BEGIN_MS + 5 * 86_400_000),
        kind=st.sampled_from(["call", "hit"]),
        batch_id=st.integers(1, 3),
        request_id=st.integers(1, 4),
        model=few,
        provider=few,
        tenant=few,
        user_id=few,
        agent=few,
        request_type=few,
        endpoint=few,
        input_tokens=st.integers(0, 10**9),
        output_tokens=st.integers(0, 10**9),
        cost_nanos=st.none() | st.integers(0, 10**16),
    ),
    max_size=30,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=entries_made_up, by=st.lists(st.sampled_from(list(Column)), max_size=3))
def test_sums_are_the_ledgers(database: Database, entries: list[dict[str, Any]], by: list[Column]) -> None:
    """Every entry is in one row, with every nano-dollar and token; the total counts each request once."""
    write(database, entries)
    summary = summary_of(database, *by)
    groups = summary.groups if by else ()
    assert summary.total.cost_nanos == sum(row["cost_nanos"] or 0 for row in entries)
    assert summary.total.requests == len({row["request_id"] for row in entries})
    assert summary.total.unpriced == sum(row["cost_nanos"] is None for row in entries)
    assert summary.total.calls + summary.total.hits == len(entries)
    if by:
        for name in ("calls", "hits", "unknown", "unpriced", "input_tokens", "output_tokens", "cost_nanos"):
            added = sum(getattr(group.sums, name) for group in groups)
            assert added == getattr(summary.total, name), name
    if by and set(by) <= set(PLAIN):
        expected: dict[tuple[str, ...], set[int]] = defaultdict(set)
        for row in entries:
            expected[tuple(row[PLAIN[column]] for column in dict.fromkeys(by))].add(row["request_id"])
        counted = {tuple(group.names.values()): group.sums.requests for group in groups}
        assert counted == {names: len(requests) for names, requests in expected.items()}


def test_dearest_first(database: Database) -> None:
    """The row that costs most is the first one; of equals the name decides."""
    prices = {"b": 5, "a": 5, "c": 9, "d": None}
    write(database, [entry(model=model, cost_nanos=cost) for model, cost in prices.items()])
    assert list(costs(summary_of(database, Column.MODEL))) == [("c",), ("a",), ("b",), ("d",)]


def test_total_counts_a_request_once(database: Database) -> None:
    """A request that two models were asked for is in both rows, and once in the total."""
    write(database, [entry(model="a", cost_nanos=1), entry(model="b", cost_nanos=2)])
    summary = summary_of(database, Column.MODEL)
    assert [group.sums.requests for group in summary.groups] == [1, 1]
    assert (summary.total.requests, summary.total.calls, summary.total.cost_nanos) == (1, 2, 3)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-01", 24)])
def test_days_are_the_zones(database: Database, day: str, hours: int) -> None:
    """An entry for every hour of the day and one on either side of it: also when the clocks change."""
    begin_ms = int(datetime.fromisoformat(day).replace(tzinfo=BERLIN).timestamp()) * 1000
    write(database, [entry(begin_ms + hour * 3_600_000, cost_nanos=1) for hour in range(-1, hours + 1)])
    days = costs(summary_of(database, Column.DAY))
    assert list(days.values()) == [1, hours, 1]
    assert days[(day,)] == hours
    assert list(days) == sorted(days)


def test_days_come_in_order_and_the_dearest_first_within(database: Database) -> None:
    """Days are a story to be read from its beginning."""
    noon_ms = int(datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()) * 1000
    write(
        database,
        [
            entry(noon_ms + 86_400_000, model="a", cost_nanos=99),
            entry(noon_ms, model="a", cost_nanos=1),
            entry(noon_ms, model="b", cost_nanos=2),
        ],
    )
    assert list(costs(summary_of(database, Column.MODEL, Column.DAY))) == [
        ("b", "2026-11-01"),
        ("a", "2026-11-01"),
        ("a", "2026-11-02"),
    ]


def test_since_is_in_and_until_is_not(database: Database) -> None:
    """Periods that follow each other count every entry once."""
    write(database, [entry(BEGIN_MS + nth, cost_nanos=10**nth) for nth in range(4)])
    middle = summary_of(database, Column.DAY, since_ms=BEGIN_MS + 1, until_ms=BEGIN_MS + 3)
    assert middle.total.cost_nanos == 110
    assert sum(costs(middle).values()) == 110


def test_filters_leave_only_theirs(database: Database) -> None:
    """Every column but the day selects, alone and together with others."""
    rows = [
        entry(**{PLAIN[column]: "this" if nth >> place & 1 else "that" for place, column in enumerate(PLAIN)})
        for nth in range(1 << len(PLAIN))
    ]
    write(database, rows)
    for one, other in combinations(PLAIN, 2):
        summary = summary_of(database, **{one.value: "this", other.value: "this"})
        assert summary.total.calls == len(rows) // 4


def test_batches_and_jobs_go_by_their_names(database: Database) -> None:
    """A batch is known by its public name and a job by what its owner called it."""
    first, second = add_batch(database, 2, job_name="nightly"), add_batch(database, 1, job_name="nightly")
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take())
    names = [batch_of(database, batch).public_id for batch in (first, second)]
    assert costs(summary_of(database, Column.BATCH)) == {
        (names[0],): 2 * PRICE_NANOS,
        (names[1],): PRICE_NANOS,
    }
    assert costs(summary_of(database, Column.JOB)) == {("nightly",): 3 * PRICE_NANOS}
    assert summary_of(database, batch=names[1]).total.calls == 1
    assert summary_of(database, job="nightly").total.calls == 3
    with pytest.raises(NotFoundError, match="no batch"):
        summary_of(database, batch="batch_none")


def test_unknown_until_corrected(database: Database, clock: FakeClock) -> None:
    """A call whose answer is lost counts as unknown until its answer comes, in the period in which it was made."""
    add_batch(database, 2)
    worker = Worker(database)
    late, lost = worker.send(*worker.take())
    worker.settle((late, UNKNOWN), (lost, UNKNOWN))
    since_ms = clock.now_ms()
    assert (summary_of(database).total.unknown, summary_of(database).total.unpriced) == (2, 0)
    clock.advance(86_400_000)
    worker.settle((late, ANSWERED))
    total = summary_of(database).total
    assert (total.calls, total.unknown, total.cost_nanos) == (2, 1, PRICE_NANOS)
    first_day = summary_of(database, since_ms=since_ms, until_ms=since_ms + 1).total
    second_day = summary_of(database, since_ms=since_ms + 1).total
    assert (first_day.calls, first_day.unknown, first_day.cost_nanos) == (2, 1, 0)
    assert (second_day.calls, second_day.unknown, second_day.cost_nanos) == (0, 0, PRICE_NANOS)


def test_empty_ledger(database: Database) -> None:
    """Nothing used: no rows, and zeros."""
    summary = summary_of(database, Column.DAY, Column.MODEL)
    assert summary.groups == ()
    assert (summary.total.requests, summary.total.cost_nanos) == (0, 0)
