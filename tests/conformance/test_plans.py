"""Query plans: what a worker and the sweep ask of the database never reads a whole table of requests."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from batchmill.reports.period import Span
from batchmill.requests.model import Lane
from db import batches, sweep
from db.engine import Database, Transaction
from db.prepared import DriverStatement
from db.reports import sums
from tests.support.clocks import FakeClock
from tests.support.hands import LEASE_MS, Worker, add_batch
from tests.support.replies import ANSWERED, CUT_SHORT, REFUSED, THROTTLED, make_judge

LINES = 20_000
LARGE = "requests|inputs|answers|attempts|ledger|cache_entries"
# PostgreSQL is told to avoid sequential scans, so it reads a whole table by an index without a condition.
# `waiting_requests` it may read so: a partial index of those who wait, once in a sweep.
SCAN = {
    "sqlite": rf"^SCAN ({LARGE}|waiting_requests)\b",
    "postgresql": rf"Seq Scan on ({LARGE})\b"
    rf"|Index (Only )?Scan .*\bon ({LARGE})\b(?! waiting_requests).*\n(?!\s*Index Cond)",
}


@contextmanager
def plans(database: Database, mode: str) -> Iterator[dict[str, list[str]]]:
    """The plan of every statement that is executed while the context lasts."""
    found: dict[str, list[str]] = {}

    def explain(driver: Any, statement: str, given: Any) -> None:
        if statement in found or not re.match(r"(SELECT|INSERT|UPDATE|DELETE|WITH)\b", statement):
            return
        cursor = driver.cursor()
        if database.dialect == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", given)
            found[statement] = [row[3] for row in cursor.fetchall()]
        else:
            cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
            cursor.execute(f"EXPLAIN {statement}", given, prepare=True)
            found[statement] = [row[0] for row in cursor.fetchall()]
        cursor.close()

    def by_sqlalchemy(
        connection: Connection, _cursor: Any, statement: str, given: Any, _context: Any, many: bool
    ) -> None:
        explain(connection.connection.dbapi_connection, statement, given[0] if many else given)

    def prepared(tx: Transaction, statement: DriverStatement, values: Any) -> Any:
        explain(tx._driver, statement.sql, statement.bind(values))
        return execute(tx, statement, values)

    def of_rows(tx: Transaction, sql: str, rows: Any) -> int:
        explain(tx._driver, sql, rows[0])
        return execute_many(tx, sql, rows)

    execute, execute_many = Transaction._execute, Transaction._execute_many
    event.listen(database.engine, "before_cursor_execute", by_sqlalchemy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transaction, "_execute", prepared)
        patch.setattr(Transaction, "_execute_many", of_rows)
        yield found
    event.remove(database.engine, "before_cursor_execute", by_sqlalchemy)


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_nothing_reads_all_requests(database: Database, clock: FakeClock, mode: str) -> None:
    """Claim, look-up, send, settle, retry, sweep, cancel: each finds its rows by an index, whatever the plan knows."""
    add_batch(database, [f"key-{line // 2}" for line in range(LINES)])
    worker, judge = Worker(database), make_judge()
    worker.answer(ANSWERED, *worker.take(200))
    if database.dialect == "postgresql":
        with database.write() as tx:
            tx.run(text("ANALYZE"))
    with plans(database, mode) as found:
        sent = worker.send(*worker.take(60)[:20])
        replies = [ANSWERED, THROTTLED, REFUSED, CUT_SHORT]
        worker.settle(*((attempt, replies[nth % 4]) for nth, attempt in enumerate(sent)))
        worker.renew()
        clock.advance(LEASE_MS + 60_000)
        sweep.sweep(database, judge, "test")
        worker.hand_back(*worker.take(10))
        add_batch(database, [*(f"key-{nth}" for nth in range(50)), "new"], lane=Lane.HIGH)
        assert len(worker.claim(10, lanes=[Lane.HIGH])) == 1
        small = add_batch(database, ["key-1", "new"])
        with database.write() as tx:
            batches.cancel(tx, small)
        sweep.sweep(database, judge, "test")
    assert len(found) > 30
    bad = [
        ("\n".join(plan), statement)
        for statement, plan in found.items()
        if re.search(SCAN[database.dialect], "\n".join([*plan, ""]), re.MULTILINE)
    ]
    assert bad == []


def test_a_day_is_added_up_without_what_came_since(database: Database) -> None:
    """Corrections that came after a period are found by an index of their own, not among all entries since then."""
    with plans(database, "force_generic_plan") as found, database.read() as tx:
        sums.spend_of(tx, Span(start_ms=0, end_ms=86_400_000))
    [plan] = found.values()
    assert "ix_ledger_corrections" in "\n".join(plan)
