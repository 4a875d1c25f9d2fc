"""Definitions: budgets are set, changed, reset and removed, and nothing of what was spent is lost by that."""

from itertools import pairwise
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import select

from batchmill.budgets.edits import Changes
from batchmill.budgets.model import OnLimit, Origin, Period, Scope
from batchmill.budgets.standing import CallFacts
from batchmill.errors import MisuseError
from batchmill.settings import Settings
from db import batches
from db.budgets import definitions
from db.budgets.coverage import check_budget, covering, refusing_unpriced
from db.budgets.periods import begin
from db.budgets.standings import past_periods, standings
from db.engine import Database
from db.tables import budget_periods, budgets
from tests.support.audit import audit
from tests.support.budgets import (
    all_budgets,
    amounts_of,
    moment_ms,
    periods_of,
    set_budgets_of,
    spend,
    standing_of,
)
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, batch_of
from tests.support.replies import ANSWERED, PRICE_NANOS, UNKNOWN
from workers.budgets import set_budgets

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOTHING = Changes()


def test_a_new_budget_is_as_it_is_set(database: Database) -> None:
    """Several periods at once are several budgets; what is not named has its default."""
    made = set_budgets_of(
        database, {Period.DAY: 5_000, Period.TOTAL: 70}, zone="Europe/Berlin", on_limit=OnLimit.REJECT
    )
    assert [standing.budget for standing in made] == [standing.budget for standing in all_budgets(database)]
    day, total = (standing.budget for standing in made)
    assert (day.period, day.limit_nanos, total.period, total.limit_nanos) == ("day", 5_000, "total", 70)
    assert (day.zone, day.on_limit, day.origin) == ("Europe/Berlin", OnLimit.REJECT, Origin.COMMAND)
    assert (day.thresholds, day.downgrade_percent, day.allows_unpriced) == ((75, 90, 100), 100, False)
    audit(database)


def test_setting_again_changes_what_is_named_and_keeps_what_is_spent(database: Database) -> None:
    """The limit counts from now on, in this period too; zone, thresholds and what is spent and held stay."""
    set_budgets_of(
        database, {Period.DAY: 5_000}, zone="Europe/Berlin", thresholds=(50, 80), allows_unpriced=True
    )
    spend(database, 2)
    worker = Worker(database)
    add_batch(database, 1, tenant="acme")
    worker.send(*worker.take(), hold_nanos=700)
    (again,) = set_budgets_of(database, {Period.DAY: 9_000})
    assert standing_of(again) == (9_000, 2 * PRICE_NANOS, 700)
    assert (again.budget.zone, again.budget.thresholds) == ("Europe/Berlin", (50, 80))
    assert (again.budget.allows_unpriced, again.left_nanos) == (True, 9_000 - 2_700)
    (lower,) = set_budgets_of(database, {Period.DAY: 1_500})
    assert (lower.left_nanos, lower.is_spent) == (0, True)
    (period,) = periods_of(database, lower.budget.id)
    assert (period.limit_nanos, period.ceiling_nanos) == (1_500, 9_000)
    audit(database)


def test_a_raised_limit_counts_at_once(database: Database) -> None:
    """The very next call is held against it; and against a lowered one."""
    set_budgets_of(database, {Period.TOTAL: 100})
    add_batch(database, 3, tenant="acme")
    worker = Worker(database)
    jobs = worker.take()
    assert worker.send(*jobs, hold_nanos=150) == []
    set_budgets_of(database, {Period.TOTAL: 300})
    assert len(worker.send(*jobs, hold_nanos=150)) == 2
    set_budgets_of(database, {Period.TOTAL: 299})
    assert worker.send(jobs[2], hold_nanos=1) == []
    audit(database)


def test_reset_begins_anew_and_holds_settle_where_they_are(database: Database, clock: FakeClock) -> None:
    """The new period ends when the old one would have; a call in flight is charged to the one it is held on."""
    (made,) = set_budgets_of(database, {Period.DAY: 9_000})
    spend(database, 2)
    add_batch(database, 1, tenant="acme")
    worker = Worker(database)
    (attempt,) = worker.send(*worker.take(), hold_nanos=PRICE_NANOS)
    clock.advance(HOUR_MS)
    with database.write() as tx:
        definitions.reset(tx, [made.budget.id])
        definitions.reset(tx, [made.budget.id])  # once more in the same millisecond
    clock.advance(10)
    (fresh,) = all_budgets(database)
    assert (standing_of(fresh), fresh.end_ms) == ((9_000, 0, 0), made.end_ms)
    worker.settle((attempt, ANSWERED))
    (fresh,) = all_budgets(database)
    with database.read() as tx:
        past = past_periods(tx, made.budget.id, 10)
    assert standing_of(fresh) == (9_000, 0, 0)
    assert [(row.spent_nanos, row.held_nanos) for row in past] == [(0, 0), (3 * PRICE_NANOS, 0)]
    spend(database, 1)
    assert standing_of(*all_budgets(database)) == (9_000, PRICE_NANOS, 0)
    audit(database)


def test_a_removed_budget_covers_nothing_and_may_be_set_again(database: Database) -> None:
    """It stays as history; a new one of the same name begins with what the ledger says."""
    (old,) = set_budgets_of(database, {Period.DAY: 9_000})
    spend(database, 1)
    with database.write() as tx:
        definitions.remove(tx, [old.budget.id])
    assert all_budgets(database) == []
    spend(database, 1, cache="off")
    assert amounts_of(database, old.budget.id) == (PRICE_NANOS, 0)
    (new,) = set_budgets_of(database, {Period.DAY: 9_000})
    assert (standing_of(new), new.opening_nanos) == ((9_000, 2 * PRICE_NANOS, 0), 2 * PRICE_NANOS)
    assert new.budget.id != old.budget.id
    audit(database)


def test_changing_a_budget_begins_its_day(database: Database, clock: FakeClock) -> None:
    """Before any call does: a worker that has just read the old limit cannot begin the day with it."""
    (made,) = set_budgets_of(database, {Period.DAY: 9_000})
    clock.advance(DAY_MS)
    (changed,) = set_budgets_of(database, {Period.DAY: 5})
    assert (changed.start_ms, changed.balance.limit_nanos) == (made.end_ms, 5)
    assert [row.limit_nanos for row in periods_of(database, made.budget.id)] == [9_000, 5]


def test_another_zone_counts_from_the_end_of_the_running_period(database: Database, clock: FakeClock) -> None:
    """The period that runs ends with the new zone's: no moment is in two periods or in none."""
    clock.advance(moment_ms("2026-11-20T12:00") - clock.now_ms())
    (made,) = set_budgets_of(database, {Period.DAY: 9_000})
    (moved,) = set_budgets_of(database, {Period.DAY: 9_000}, name="acme", zone="UTC")
    assert moved == made
    with database.write() as tx:
        (moved,) = definitions.set_budgets(
            tx, Scope.TENANT, "acme", {Period.DAY: 9_000}, Changes(zone="America/New_York")
        )
    assert (moved.start_ms, moved.end_ms) == (moment_ms("2026-11-20T00:00"), moment_ms("2026-11-21T05:00"))
    clock.advance(DAY_MS)
    spend(database, 1)
    assert [row.start_ms for row in periods_of(database, made.budget.id)] == [made.start_ms, moved.end_ms]


def test_midnight_comes_while_a_budget_is_changed(database: Database, clock: FakeClock) -> None:
    """Whoever changes a budget may find the day after its own `now`: that day gets the limit, and stays a day."""
    clock.advance(moment_ms("2027-11-20T23:59:59.990") - clock.now_ms())
    (made,) = set_budgets_of(database, {Period.DAY: 5_000})
    add_batch(database, 2, tenant="acme")
    worker = Worker(database)
    first, second = worker.take()
    with database.write() as tx:
        before_ms = tx.now_ms
    clock.advance(20)
    assert worker.send(first, hold_nanos=100)
    with database.write() as tx:
        tx.now_ms = before_ms
        definitions.set_budgets(tx, Scope.TENANT, "acme", {Period.DAY: 700}, NOTHING)
    today = periods_of(database, made.budget.id)[-1]
    assert (today.end_ms - today.start_ms, today.limit_nanos) == (DAY_MS, 700)
    assert worker.send(second, hold_nanos=100)
    audit(database)


def test_a_day_that_begins_while_a_budget_is_changed(database: Database, clock: FakeClock) -> None:
    """A worker begins the day just as the limit is lowered: none begins with the old limit and keeps it."""
    clock.advance(moment_ms("2027-11-20T23:59:59.990") - clock.now_ms())
    (made,) = set_budgets_of(database, {Period.DAY: 5_000})

    def lower() -> None:
        with database.write() as tx:
            tx.now_ms = clock.now_ms()
            definitions.set_budgets(tx, Scope.TENANT, "acme", {Period.DAY: 700}, NOTHING)

    command = Thread(target=lower)
    with database.write() as tx:
        tx.now_ms += 20
        begin(tx, [made.budget.id])
        command.start()
        command.join(timeout=0.5)
    command.join()
    assert periods_of(database, made.budget.id)[-1].limit_nanos == 700


def test_contradicting_changes_change_nothing(database: Database) -> None:
    """One of two budgets set by one command cannot be: neither is."""
    set_budgets_of(database, {Period.DAY: 9_000}, on_limit=OnLimit.DOWNGRADE)
    with pytest.raises(MisuseError, match="does not ask cheaper models"):
        set_budgets_of(database, {Period.DAY: 1, Period.WEEK: 2}, downgrade_percent=80)
    assert [standing_of(standing)[0] for standing in all_budgets(database)] == [9_000]
    (again,) = set_budgets_of(database, {Period.DAY: 9_000}, downgrade_percent=80)
    assert again.budget.downgrade_percent == 80
    (again,) = set_budgets_of(database, {Period.DAY: 9_000}, on_limit=OnLimit.PAUSE)
    assert again.budget.downgrade_percent == 100


def test_what_covers_a_call_and_whether_an_amount_fits(database: Database) -> None:
    """Every budget that covers it is told, each with whether the amount fits now; unknown prices fit where allowed."""
    set_budgets_of(database, {Period.DAY: 5_000})
    set_budgets_of(database, {Period.TOTAL: 1_500}, Scope.MODEL, "openai/gpt-4o-mini", allows_unpriced=True)
    set_budgets_of(database, {Period.TOTAL: 1}, Scope.TENANT, "other")
    set_budgets_of(database, {Period.TOTAL: 1}, Scope.TYPE, "report")
    spend(database, 1)
    facts = CallFacts(tenant="acme", provider="openai", model="gpt-4o-mini")
    with database.read() as tx:
        assert [standing.budget.scope for standing in covering(tx, facts)] == [Scope.TENANT, Scope.MODEL]
        assert [fit.fits for fit in check_budget(tx, facts, 500)] == [True, True]
        assert [fit.fits for fit in check_budget(tx, facts, 501)] == [True, False]
        assert [fit.fits for fit in check_budget(tx, facts, None)] == [False, True]
        assert set(refusing_unpriced(tx, facts)) == {"tenant:acme", "type:report"}
        assert check_budget(tx, CallFacts(tenant="else", provider="openai", model="m"), 10**18) == []


def test_budgets_of_ended_batches_are_left_out_of_lists(database: Database) -> None:
    """They cover nothing any more."""
    batch = spend(database)
    set_budgets_of(database, {Period.TOTAL: 5}, Scope.BATCH, batch_of(database, batch).public_id)
    with database.read() as tx:
        assert len(standings(tx, ended_too=False)) == 1
    with database.write() as tx:
        assert batches.finish(tx, batch)
    with database.read() as tx:
        assert (len(standings(tx)), standings(tx, ended_too=False)) == (1, [])


@pytest.mark.timeout(120)
def test_defining_beside_workers_at_work(database: Database, settings: Settings) -> None:
    """Two who set, reset and remove the same budgets while calls are held on them: no deadlock, clean books."""
    limits = {Period.DAY: 10**6, Period.MONTH: 10**6}
    set_budgets_of(database, {Period.WEEK: 10**6})
    errors: list[BaseException] = []

    def guarded(do: Any) -> Thread:
        def run() -> None:
            try:
                do()
            except BaseException as error:
                errors.append(error)

        return Thread(target=run)

    def define(limit: int) -> None:
        for nth in range(8):
            set_budgets(database, settings, Scope.TENANT, "acme", dict.fromkeys(limits, limit + nth), NOTHING)
            with database.read() as tx:
                ids = [standing.budget.id for standing in standings(tx)]
            with database.write() as tx:
                definitions.reset(tx, ids)
                if nth % 3 == 2:
                    definitions.remove(tx, ids)

    def work() -> None:
        worker = Worker(database)
        batch = add_batch(database, 30, tenant="acme")
        for _ in range(10):
            jobs = worker.take(3, only_batch=batch)
            sent = worker.send(*jobs, hold_nanos=PRICE_NANOS)
            worker.settle(*((attempt, UNKNOWN if nth else ANSWERED) for nth, attempt in enumerate(sent)))

    threads = [
        guarded(lambda: define(10**6)),
        guarded(lambda: define(2 * 10**6)),
        guarded(work),
        guarded(work),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    audit(database)
    current = select(budget_periods).join(budgets, budgets.c.id == budget_periods.c.budget_id)
    with database.read() as tx:
        rows = tx.rows(current.order_by(budget_periods.c.budget_id, budget_periods.c.start_ms))
    for before, after in pairwise(rows):
        if before.budget_id == after.budget_id:
            assert before.end_ms is not None
            assert before.end_ms <= after.start_ms
