"""The audit of budgets: whatever is wrong with one is named, to the nano-dollar."""

from dataclasses import replace
from itertools import count

import pytest
from sqlalchemy import text

from batchmill.budgets.model import Scope
from batchmill.findings import Level
from batchmill.requests.model import OnUnknown
from db.audit import audit
from db.audit.budgets import compared, periods
from db.engine import Database
from tests.support.budgets import add_budget
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, batch_of
from tests.support.replies import ANSWERED, PRICE_NANOS, UNKNOWN

HOLD = 9_000


def spend(database: Database, clock: FakeClock) -> int:
    """Two budgets with all that there can be on them: a call that was answered, one that was dearer than its hold,
    one without a price, one that is unknown, one that was, one in flight. The batch."""
    add_budget(database, 1_000_000)
    add_budget(database, 1_000_000, scope=Scope.TENANT, name="local")
    batch = add_batch(database, 6, on_unknown=OnUnknown.FAIL)
    flying, worker = Worker(database), Worker(database)
    flying.send(*flying.take(1), hold_nanos=HOLD)
    *jobs, dear = worker.take()
    answered, unpriced, unknown, corrected = worker.send(*jobs, hold_nanos=HOLD)
    (overrun,) = worker.send(dear, hold_nanos=PRICE_NANOS // 2)
    worker.settle((answered, ANSWERED), (unpriced, replace(ANSWERED, usage=None)), (overrun, ANSWERED))
    worker.settle((unknown, UNKNOWN), (corrected, UNKNOWN))
    worker.settle((corrected, ANSWERED))
    clock.advance(1)
    return batch


def broken(database: Database) -> dict[str, list[str]]:
    """What each check that is alarmed says."""
    return {
        finding.check: [example.detail for example in finding.examples]
        for finding in audit(database)
        if finding.level is not Level.OK
    }


def test_every_side_is_compared(database: Database, clock: FakeClock) -> None:
    """Spent, held, unknown and overrun, as the row has them and as the ledger and the calls do."""
    spend(database, clock)
    assert broken(database) == {}
    with database.snapshot() as tx:
        rows = compared(tx)
    assert len(rows) == 2
    spent = 3 * PRICE_NANOS + 2 * HOLD  # no price and no evidence: charged at the hold
    for row in rows:
        assert (row.spent_nanos, row.held_nanos, row.unknown_nanos) == (spent, HOLD, HOLD)
        assert row.overrun_nanos == PRICE_NANOS // 2
        assert (row.spent, row.held, row.unknown) == (spent, HOLD, HOLD)
        assert row.overrun == PRICE_NANOS // 2


BROKEN = {
    "UPDATE budget_periods SET spent_nanos = spent_nanos + 1 WHERE id = 1": {"budgets"},
    "UPDATE budget_periods SET opening_nanos = 1 WHERE id = 2": {"budgets"},
    "UPDATE budget_periods SET held_nanos = 0 WHERE id = 1": {"budgets"},
    "UPDATE budget_periods SET unknown_nanos = unknown_nanos - 1 WHERE id = 1": {"budgets"},
    "UPDATE budget_periods SET overrun_nanos = overrun_nanos + 1 WHERE id = 1": {"budgets"},
    "UPDATE attempts SET hold_nanos = hold_nanos + 1 WHERE state = 'sent'": {"budgets"},
    "UPDATE attempts SET held_on = ',1,' WHERE state = 'unknown'": {"budgets"},
    "UPDATE ledger SET cost_nanos = cost_nanos + 1 WHERE kind = 'correction'": {
        "budgets",
        "ledger-entries",
        "spent",
    },
    "DELETE FROM budget_periods WHERE id = 2": {"budget-periods"},
    "DELETE FROM budgets WHERE id = 2": {"budget-periods"},
    "UPDATE attempts SET held_on = ',1,2,4711,' WHERE state = 'sent'": {"budget-periods"},
    "UPDATE budget_periods SET ceiling_nanos = 500, limit_nanos = 500 WHERE id = 2": {"budget-limits"},
}


@pytest.mark.parametrize("statement", BROKEN)
def test_what_is_wrong_is_named(database: Database, clock: FakeClock, statement: str) -> None:
    """One thing is wrong in the database: the checks that it concerns name it, and no other is alarmed."""
    batch = spend(database, clock)
    with database.write() as tx:
        assert tx.run(text(statement)) > 0
    assert set(broken(database)) == BROKEN[statement]
    if "budget-periods" in BROKEN[statement]:
        (finding,) = [finding for finding in audit(database) if finding.check == "budget-periods"]
        assert finding.examples[0].batch == batch_of(database, batch).public_id
        assert finding.examples[0].place is not None


def test_a_limit_that_was_lowered_is_no_fault(database: Database, clock: FakeClock) -> None:
    """What was spent before under a higher limit was within it."""
    spend(database, clock)
    with database.write() as tx:
        tx.run(text("UPDATE budget_periods SET limit_nanos = 500"))
    assert broken(database) == {}


def test_a_difference_is_told_to_the_nano_dollar(database: Database, clock: FakeClock) -> None:
    """Which budget, and both amounts of each side."""
    spend(database, clock)
    with database.write() as tx:
        tx.run(text("UPDATE budget_periods SET spent_nanos = spent_nanos + 1 WHERE id = 2"))
    assert broken(database) == {
        "budgets": [
            "tenant local total, period 2: spent $0.000021001, held $0.000009, unknown $0.000009, overrun $0.0000005;"
            " by the ledger and the calls $0.000021, $0.000009, $0.000009, $0.0000005"
        ]
    }


def steps(database: Database) -> int:
    """How many thousand steps SQLite takes to compare all periods, and to find those that are gone."""
    taken = count()
    with database.snapshot() as tx:
        driver = tx.connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(lambda: next(taken) < 0, 1_000)
        assert compared(tx)
        assert periods.find(tx).level is Level.OK
        driver.set_progress_handler(None, 0)
    return next(taken)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_it_grows_with_the_budgets_and_not_with_their_square(database: Database) -> None:
    """Where every batch has a budget of its own there are as many groups of calls as periods."""
    add_budget(database, 1_000_000)
    taken = []
    for calls in (100, 300):
        add_batch(database, calls)
        worker = Worker(database)
        worker.send(*worker.take(calls), hold_nanos=1)
        with database.write() as tx:
            tx.run(
                text(
                    "INSERT INTO budget_periods (id, budget_id, start_ms, end_ms, limit_nanos, ceiling_nanos)"
                    " SELECT 1000 + id, 1, id, id + 1, 1, 1 FROM attempts WHERE held_on = ',1,'"
                )
            )
            tx.run(text("UPDATE attempts SET held_on = ',' || (1000 + id) || ',' WHERE held_on = ',1,'"))
        taken.append(steps(database))
    few, many = taken
    assert many < 8 * few
