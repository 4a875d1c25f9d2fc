"""The ledger rolled up to daily rows: whatever is added up over whole days is the same before and after."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, update

from batchmill.budgets.model import Budget, Period, Scope
from batchmill.findings import Level
from batchmill.money.summary import FILTERS, Column, Selection
from batchmill.periods import days_between
from batchmill.requests.ids import request_id
from db.audit.retained import days as daily_rows
from db.budgets.opening import spent_so_far
from db.engine import Database
from db.retention.rolling import RolledUp, roll_up
from db.tables import batches, ledger, ledger_days
from db.usage import summarize
from tests.conformance.test_usage import PLAIN, entry
from tests.support.clocks import FakeClock
from tests.support.keeping import BERLIN, DAY_MS

BEGIN_MS = 1_900_026_000_000
"""Three days before the clocks change in Berlin; one in the morning there."""
DAYS = list(days_between(BEGIN_MS, BEGIN_MS + 6 * DAY_MS, BERLIN))
ROLLED_MS = DAYS[4].start_ms
OVER, ALSO_OVER, SINGLE, RUNNING, UNCLEAR = range(1, 6)

few = st.sampled_from(["", "a", "b"])


@st.composite
def entries_of_request(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What the ledger has of one request: calls, unknown ones and their corrections, a hit."""
    batch = draw(st.sampled_from([OVER, OVER, ALSO_OVER, SINGLE, RUNNING, UNCLEAR]))
    place = 1 if batch == SINGLE else draw(st.integers(1, 9))
    same = {name: draw(few) for name in ("request_type", "endpoint", "tenant", "user_id")}
    same |= {"batch_id": batch, "request_id": request_id(batch, place)}
    made = []
    for nth in range(draw(st.integers(1, 3))):
        at_ms = BEGIN_MS + draw(st.integers(0, 3 * DAY_MS))
        values: dict[str, Any] = {
            "at_ms": at_ms,
            "kind": draw(st.sampled_from(["call", "call", "hit"])),
            "attempt_id": draw(st.integers(1, 10**6)) * 10 + nth,
            "provider": draw(few),
            "model": draw(few),
            "success": draw(st.booleans()),
            "input_tokens": draw(st.integers(0, 10**9)),
            "output_tokens": draw(st.integers(0, 10**9)),
            "cost_nanos": draw(st.none() | st.integers(0, 10**16)),
            "latency_ms": draw(st.integers(0, 10**6)),
        }
        if values["kind"] == "hit":
            values["cost_nanos"] = 0
        made.append(entry(**same, **values))
        fate = draw(st.sampled_from(["known", "known", "corrected", "late", "unknown"]))
        if values["kind"] == "call" and fate != "known":
            made[-1] |= {"cost_nanos": None, "cost_reason": "unknown_outcome"}
            if fate != "unknown":
                later_ms = at_ms + draw(st.integers(0, DAY_MS // 2)) + (3 * DAY_MS if fate == "late" else 0)
                made.append(
                    made[-1] | {"kind": "correction", "at_ms": later_ms, "cost_nanos": 5, "cost_reason": ""}
                )
    return made


def write(database: Database, requests: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Make these the whole ledger, of the batches that they name."""
    entries = list({row["request_id"]: rows for rows in requests for row in rows}.values())
    flat = [row for rows in entries for row in rows]
    with database.write() as tx:
        for table in (ledger, ledger_days, batches):
            tx.run(table.delete())
        for batch in range(1, 6):
            tx.run(
                insert(batches).values(
                    id=batch,
                    public_id=f"batch_{batch}",
                    state="completed",
                    lane="normal",
                    tenant="a",
                    cache="auto",
                    on_unknown="retry",
                    job_name="nightly" if batch % 2 else "",
                    is_direct=batch == SINGLE,
                    created_ms=1,
                    touched_ms=1,
                    ended_ms=None if batch == RUNNING else DAYS[3].start_ms + DAY_MS // 2,
                    unknown_attempts=int(batch == UNCLEAR),
                )
            )
        if flat:
            tx.connection.execute(insert(ledger), flat)
    return flat


def must_stay(rows: list[dict[str, Any]]) -> bool:
    """Whether the entries of a request are not to be rolled up yet."""
    open_ = sum((row["cost_reason"] != "") - (row["kind"] == "correction") for row in rows)
    is_late = any(row["at_ms"] >= ROLLED_MS for row in rows)
    return bool(rows[0]["batch_id"] in (RUNNING, UNCLEAR) or open_ or is_late)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(entries_of_request(), max_size=12),
    by=st.lists(st.sampled_from(list(Column)), max_size=3),
    first=st.none() | st.integers(0, 3),
    last=st.none() | st.integers(3, 6),
    only=st.dictionaries(st.sampled_from(FILTERS), few, max_size=1),
)
def test_usage_is_the_same_before_and_after(
    database: Database,
    requests: list[list[dict[str, Any]]],
    by: list[Column],
    first: int | None,
    last: int | None,
    only: dict[Column, str],
) -> None:
    """Of any days, by any columns, of any part: each request, call, token and nano-dollar; only single requests are
    told apart no more, and what is open keeps its entries."""
    flat = write(database, requests)
    selection = Selection(
        since_ms=None if first is None else DAYS[first].start_ms,
        until_ms=None if last is None else DAYS[last].start_ms,
        only={column: value for column, value in only.items() if column in PLAIN},
    )
    before = summarize(database, by, selection, zone=BERLIN)
    rolled = roll_up(database, before_ms=ROLLED_MS, zone=BERLIN)
    assert summarize(database, by, selection, zone=BERLIN) == before
    of_requests: dict[int, list[dict[str, Any]]] = {}
    for row in flat:
        of_requests.setdefault(row["request_id"], []).append(row)
    staying = [row for rows in of_requests.values() if must_stay(rows) for row in rows]
    with database.snapshot() as tx:
        assert tx.rows(select(func.count()).select_from(ledger))[0][0] == len(staying)
        assert daily_rows.find(tx).level is Level.OK
    assert rolled.entries == len(flat) - len(staying)
    assert roll_up(database, before_ms=ROLLED_MS, zone=BERLIN) == RolledUp()


def spread(database: Database, count: int) -> None:
    """So many requests of one batch, an entry each, over three days."""
    write(
        database,
        [
            [entry(BEGIN_MS + nth * 3 * DAY_MS // count, request_id=request_id(OVER, nth + 1), cost_nanos=1)]
            for nth in range(count)
        ],
    )


def test_portions_and_steps(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few entries are at hand at a time, each is rolled up once, and a day is a row."""
    for name, value in {
        "ENTRIES_IN_HAND": 7,
        "ENTRIES_A_LOOK": 3,
        "ENTRIES_A_STEP": 2,
        "CHUNK_BITS": 1,
    }.items():
        monkeypatch.setattr(f"db.retention.rolling.{name}", value)
    spread(database, 60)
    assert roll_up(database, before_ms=ROLLED_MS, zone=BERLIN) == RolledUp(60, 60)
    with database.read() as tx:
        rows = tx.rows(select(ledger_days).order_by(ledger_days.c.day))
    assert sum(row.requests for row in rows) == sum(row.cost_nanos for row in rows) == 60
    assert [row.day for row in rows] == [day.name for day in DAYS[: len(rows)]]


def test_a_day_that_has_not_ended_then_stays(database: Database) -> None:
    """Only whole days are rolled up, and a batch's entries only when the day in which it ended has: at midnight."""
    spread(database, 60)
    assert roll_up(database, before_ms=ROLLED_MS - 1, zone=BERLIN) == RolledUp()
    assert roll_up(database, before_ms=ROLLED_MS, zone=BERLIN) == RolledUp(60, 60)


def test_new_budgets_begin_with_what_the_days_had(database: Database, clock: FakeClock) -> None:
    """A budget that is made later finds what was spent by then, rolled up or not."""
    spread(database, 60)
    budget = Budget(scope=Scope.BATCH, name="batch_1", period=Period.TOTAL, limit_nanos=9)
    with database.read() as tx:
        before = spent_so_far(tx, budget, start_ms=0, end_ms=None)
    roll_up(database, before_ms=ROLLED_MS, zone=BERLIN)
    with database.read() as tx:
        assert spent_so_far(tx, budget, start_ms=0, end_ms=None) == before == 60


def test_days_of_which_nothing_can_go_are_looked_at_once(database: Database) -> None:
    """A batch with a call that nobody settles keeps its entries for ever: their days do not cost a pass each."""
    kept = [entry(day.start_ms, batch_id=UNCLEAR, request_id=request_id(UNCLEAR, 1)) for day in DAYS[:4]]
    write(database, [kept, [entry(DAYS[2].start_ms, request_id=request_id(OVER, 1))]])
    looks: list[None] = []
    assert roll_up(database, before_ms=ROLLED_MS, zone=BERLIN, check=lambda: looks.append(None)).entries == 1
    assert len(looks) == 3  # at the day of what goes, before its step, and at all that are left


def test_a_late_answer_without_a_price(database: Database) -> None:
    """A call that was unknown for days, and then without a known price: its correction is a daily row of its own, and
    the audit finds nothing wrong with that."""
    of_it = {"request_id": request_id(OVER, 1), "attempt_id": 7, "cost_nanos": None}
    call = entry(BEGIN_MS, **of_it, cost_reason="unknown_outcome")
    write(database, [[call, entry(BEGIN_MS + DAY_MS, **of_it, kind="correction", cost_reason="no_price")]])
    before = summarize(database, [Column.DAY], Selection(), zone=BERLIN)
    assert roll_up(database, before_ms=ROLLED_MS, zone=BERLIN) == RolledUp(2, 1)
    assert summarize(database, [Column.DAY], Selection(), zone=BERLIN) == before
    assert before.total.unpriced == 1
    with database.read() as tx:
        assert daily_rows.find(tx).level is Level.OK


def test_a_daily_row_that_cannot_be(database: Database) -> None:
    """Fewer entries than requests: the audit names the row."""
    spread(database, 9)
    roll_up(database, before_ms=ROLLED_MS, zone=BERLIN)
    with database.write() as tx:
        tx.run(update(ledger_days).values(calls=0))
        assert daily_rows.find(tx).level is Level.FAILURE
