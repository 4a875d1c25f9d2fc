"""Standings: the budgets there are, each with the period that is now."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, exists, select

from batchmill.budgets.balance import Balance
from batchmill.budgets.calendar import span_of
from batchmill.budgets.model import Period, Scope
from batchmill.budgets.standing import Standing
from db.budgets.rows import BALANCE, IS_ITS_NOW, balance_of, budget_of
from db.engine import Transaction
from db.tables import batches, budget_periods, budgets, word

_PERIOD = ("id", "start_ms", "end_ms", "opening_nanos", *BALANCE)
_of_ended_batch = exists(
    select(1).where(
        budgets.c.scope == word(Scope.BATCH),
        batches.c.public_id == budgets.c.name,
        batches.c.ended_ms.is_not(None),
    )
).correlate(budgets)
_in_force = (
    select(budgets, *(budget_periods.c[name].label(f"period_{name}") for name in _PERIOD))
    .join_from(budgets, budget_periods, IS_ITS_NOW, isouter=True)
    .where(budgets.c.removed_ms.is_(None))
    .order_by(budgets.c.id)
)


def standings(
    tx: Transaction,
    *,
    scope: Scope | None = None,
    name: str | None = None,
    periods: Sequence[Period] = (),
    ended_too: bool = True,
    at_ms: int | None = None,
) -> list[Standing]:
    """The budgets in force, oldest first; those that are as asked.

    Args:
        periods: Only budgets of one of these; of any when empty.
        ended_too: Also those of batches that have ended, which cover no call any more.
        at_ms: In the period that this moment is in; None = now.
    """
    wanted: list[ColumnElement[bool]] = [] if ended_too else [~_of_ended_batch]
    if scope is not None:
        wanted.append(budgets.c.scope == scope.value)
    if name is not None:
        wanted.append(budgets.c.name == name)
    if periods:
        wanted.append(budgets.c.period.in_([period.value for period in periods]))
    return where(tx, *wanted, at_ms=at_ms)


def where(tx: Transaction, *wanted: ColumnElement[bool], at_ms: int | None = None) -> list[Standing]:
    """The budgets in force of which this is true."""
    at_ms = tx.now_ms if at_ms is None else at_ms
    return [_standing(row, at_ms) for row in tx.rows(_in_force.where(*wanted), now_ms=at_ms)]


def past_periods(tx: Transaction, budget: int, most: int) -> Sequence[Any]:
    """The rows of a budget's periods that are over, newest first, up to so many."""
    return tx.rows(
        select(budget_periods)
        .where(budget_periods.c.budget_id == budget, budget_periods.c.end_ms <= tx.now_ms)
        .order_by(budget_periods.c.start_ms.desc())
        .limit(most)
    )


def _standing(row: Any, at_ms: int) -> Standing:
    budget = budget_of(row)
    if row.period_id is None:
        start_ms, end_ms = span_of(budget.period, budget.zone, at_ms)
        balance = Balance(limit_nanos=budget.limit_nanos)
        return Standing(budget=budget, start_ms=start_ms, end_ms=end_ms, balance=balance)
    return Standing(
        budget=budget,
        period_id=row.period_id,
        start_ms=row.period_start_ms or row.created_ms,
        end_ms=row.period_end_ms,
        balance=balance_of(row, "period_"),
        opening_nanos=row.period_opening_nanos,
    )
