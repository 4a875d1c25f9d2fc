"""Definitions: budgets are set, changed, removed, begun anew.

One at a time: whoever writes them calls `lock` first. Their own rows, which workers lock to begin a period, and then
the rows of their periods, on which workers hold calls, are locked after that, in the order of their ids, as workers do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import func, insert, or_, select, text, update

from batchmill.budgets.calendar import span_of
from batchmill.budgets.edits import Changes, edited
from batchmill.budgets.model import Budget, Origin, Period, Scope
from batchmill.budgets.standing import Standing
from db.budgets.opening import spent_so_far
from db.budgets.periods import begin, open_period
from db.budgets.rows import budget_of
from db.budgets.standings import where
from db.engine import Transaction
from db.tables import budget_periods, budgets

_other = budget_periods.alias("other")


def lock(tx: Transaction) -> None:
    """Keep everybody else from defining budgets until this transaction ends; SQLite does so anyway."""
    if tx.dialect == "postgresql":
        tx.run(text("LOCK TABLE budgets IN SHARE ROW EXCLUSIVE MODE"))


def set_budgets(
    tx: Transaction,
    scope: Scope,
    name: str,
    limits: Mapping[Period, int],
    changes: Changes,
    *,
    zone: str = "UTC",
) -> list[Standing]:
    """Set the limits of budgets, in nano-dollars, and what else is to be changed of them; how they stand then.

    A budget that is there keeps whatever is not named, and what has been spent. A new one begins with what the ledger
    says was spent in its period so far; a total counts from now on, that of a batch counts all of the batch.

    Args:
        zone: That of a new budget, unless the changes name one.

    Raises:
        MisuseError: The changes contradict each other, or what a budget is. The transaction is to be given up.
    """
    lock(tx)
    there = {budget.period: budget for budget in find(tx, scope, name) if budget.origin is Origin.COMMAND}
    wanted = []
    for period, limit_nanos in limits.items():
        new = Budget(scope=scope, name=name, period=period, zone=zone, limit_nanos=limit_nanos)
        wanted.append(edited(there.get(period, new), replace(changes, limit_nanos=limit_nanos)))
    return _save(tx, wanted)


def change_budgets(tx: Transaction, scope: Scope, name: str, changes: Changes) -> list[Standing]:
    """Change all budgets of that name but for their limits, those that variables set too; how they stand then.

    Raises:
        MisuseError: The changes contradict each other, or what a budget is. The transaction is to be given up.
    """
    lock(tx)
    return _save(tx, [edited(budget, changes) for budget in find(tx, scope, name)])


def environment_differs(tx: Transaction, limits: Mapping[Period, int], zone: str) -> bool:
    """Whether `set_by_environment` has anything to do."""
    return bool(_differing(tx, limits, zone))


def set_by_environment(tx: Transaction, limits: Mapping[Period, int], zone: str) -> None:
    """Make the global budgets that variables set what these say, in nano-dollars; leave those alone that they do not
    name."""
    lock(tx)
    _save(tx, _differing(tx, limits, zone))


def remove(tx: Transaction, ids: Sequence[int]) -> None:
    """Let budgets cover no call any more; what is held on them still settles there."""
    lock(tx)
    _lock_rows(tx, ids)
    in_force = budgets.c.id.in_(ids) & budgets.c.removed_ms.is_(None)
    tx.run(update(budgets).where(in_force).values(removed_ms=tx.now_ms))


def reset(tx: Transaction, ids: Sequence[int]) -> None:
    """Let the rest of the current periods of budgets begin with nothing spent; what is held settles where it is."""
    lock(tx)
    limits = {budget.id: budget.limit_nanos for budget in _by_id(tx, ids)}
    for row in _locked_periods(tx, ids):
        turns_ms = max(tx.now_ms, row.start_ms + 1)  # twice in one millisecond: the second one a moment later
        tx.run(update(budget_periods).where(budget_periods.c.id == row.id).values(end_ms=turns_ms))
        limit = limits[row.budget_id]
        tx.run(
            insert(budget_periods).values(
                budget_id=row.budget_id,
                start_ms=turns_ms,
                end_ms=row.end_ms,
                limit_nanos=limit,
                ceiling_nanos=limit,
            )
        )


def find(tx: Transaction, scope: Scope, name: str) -> list[Budget]:
    """The budgets of that name in force, oldest first."""
    named = (budgets.c.scope == scope.value) & (budgets.c.name == name)
    found = select(budgets).where(named, budgets.c.removed_ms.is_(None)).order_by(budgets.c.id)
    return [budget_of(row) for row in tx.rows(found)]


def _differing(tx: Transaction, limits: Mapping[Period, int], zone: str) -> list[Budget]:
    """The budgets as the environment wants them, as far as they are not."""
    there = {
        budget.period: budget for budget in find(tx, Scope.GLOBAL, "") if budget.origin is Origin.ENVIRONMENT
    }
    differing = []
    for period, limit_nanos in limits.items():
        new = Budget(
            scope=Scope.GLOBAL, period=period, zone=zone, limit_nanos=limit_nanos, origin=Origin.ENVIRONMENT
        )
        wanted = replace(there.get(period, new), zone=zone, limit_nanos=limit_nanos)
        if wanted != there.get(period):
            differing.append(wanted)
    return differing


def _save(tx: Transaction, wanted: Sequence[Budget]) -> list[Standing]:
    """Write budgets, new ones (without an id) and changed ones, and what that means for the periods that run."""
    there = [budget.id for budget in wanted if budget.id]
    _lock_rows(tx, there)
    _begin(tx, there)
    saved = [_update(tx, budget) if budget.id else _insert(tx, budget) for budget in wanted]
    by_id = {budget.id: budget for budget in saved}
    for row in _locked_periods(tx, list(by_id)):
        _change_period(tx, row, by_id[row.budget_id])
    return where(tx, budgets.c.id.in_(list(by_id)))


def _lock_rows(tx: Transaction, ids: Sequence[int]) -> None:
    """Keep the periods of these budgets from beginning, in the order in which whoever begins some locks them; what has
    begun can be seen after that."""
    tx.rows(select(budgets.c.id).where(budgets.c.id.in_(ids)).order_by(budgets.c.id).with_for_update())


def _begin(tx: Transaction, ids: Sequence[int]) -> None:
    """Let the current periods of these budgets begin, before they are changed: a call might begin them as they were,
    and nobody would change that."""
    running = {standing.budget.id for standing in where(tx, budgets.c.id.in_(ids)) if standing.period_id}
    begin(tx, [budget for budget in ids if budget not in running])


def _insert(tx: Transaction, budget: Budget) -> Budget:
    values = _values(budget) | {"created_ms": tx.now_ms, "updated_ms": tx.now_ms}
    added = replace(budget, id=tx.rows(insert(budgets).values(values).returning(budgets.c.id))[0].id)
    start_ms, end_ms = span_of(budget.period, budget.zone, tx.now_ms)
    open_period(tx, added, opening_nanos=spent_so_far(tx, added, start_ms=start_ms, end_ms=end_ms))
    return added


def _update(tx: Transaction, budget: Budget) -> Budget:
    values = _values(budget) | {"updated_ms": tx.now_ms}
    tx.run(update(budgets).where(budgets.c.id == budget.id).values(values))
    return budget


def _change_period(tx: Transaction, row: Any, budget: Budget) -> None:
    """A period that runs goes by the new limit; where the zone has changed, it ends with the new zone's.

    It may have begun after our own `now`: midnight came while we waited.
    """
    _, end_ms = span_of(budget.period, budget.zone, max(tx.now_ms, row.start_ms))
    values = {
        "limit_nanos": budget.limit_nanos,
        "ceiling_nanos": max(row.ceiling_nanos, budget.limit_nanos),
        "end_ms": end_ms,
    }
    tx.run(update(budget_periods).where(budget_periods.c.id == row.id).values(values))


def _locked_periods(tx: Transaction, ids: Sequence[int]) -> Sequence[Any]:
    """The periods of these budgets that run, locked in the order of their ids.

    Of each budget the newest: one that was reset while we waited for the lock may have begun after our own `now`.
    """
    newest = select(func.max(_other.c.start_ms)).where(_other.c.budget_id == budget_periods.c.budget_id)
    running = select(budget_periods).where(
        budget_periods.c.budget_id.in_(ids),
        budget_periods.c.start_ms == newest.scalar_subquery(),
        or_(budget_periods.c.end_ms.is_(None), budget_periods.c.end_ms > tx.now_ms),
    )
    return tx.rows(running.order_by(budget_periods.c.id).with_for_update(of=budget_periods))


def _by_id(tx: Transaction, ids: Sequence[int]) -> list[Budget]:
    return [budget_of(row) for row in tx.rows(select(budgets).where(budgets.c.id.in_(ids)))]


def _values(budget: Budget) -> dict[str, Any]:
    return {
        "scope": budget.scope.value,
        "name": budget.name,
        "key": budget.key,
        "period": budget.period.value,
        "zone": budget.zone,
        "origin": budget.origin.value,
        "limit_nanos": budget.limit_nanos,
        "thresholds": ",".join(map(str, budget.thresholds)),
        "on_limit": budget.on_limit.value,
        "downgrade_percent": budget.downgrade_percent,
        "allows_unpriced": budget.allows_unpriced,
    }
