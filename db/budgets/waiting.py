"""Waiting: which of the batches that a budget has paused may go on."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from batchmill.budgets.balance import Balance, Room
from batchmill.budgets.model import OnLimit
from db.budgets.rows import IS_NOW, balance_of
from db.engine import Transaction
from db.prepared import Prepared, among
from db.tables import budget_periods, budgets, catalogue

NEW_MS = 30_000
"""So long a change of the catalogue or a budget is looked at by every sweep; every worker has taken it up by then."""

# As many batches may wait as there are, each for a budget of its own.
_in_force = Prepared(select(budgets).where(among(budgets.c.id, "ids"), budgets.c.removed_ms.is_(None)))
_now = Prepared(select(budget_periods).where(among(budget_periods.c.budget_id, "ids"), IS_NOW))


def with_room(tx: Transaction, waiting: Sequence[Any]) -> list[int]:
    """The ids of those of these batches whose budget has room again: raised, turned, refunded, or gone.

    Any goes on for a try when models or prices have changed just now; one whose call has no known price also when the
    budget allows that; one whose lines are to be rejected by now too, so that they are; and one for which a cheaper
    model is to be asked when its budget has been changed just now.

    Args:
        waiting: Rows of `batches` with `waits_for_budget_id` and `waits_for_nanos`.
    """
    ids = sorted({batch.waits_for_budget_id for batch in waiting})
    if not ids:
        return []
    by_id = {row.id: row for row in tx.rows(_in_force, ids=ids)}
    balances = _balances(tx, ids)
    new_ms = tx.now_ms - NEW_MS
    are_prices_new = _are_prices_new(tx, new_ms)
    return [
        batch.id
        for batch in waiting
        if are_prices_new or _has_room(batch, by_id.get(batch.waits_for_budget_id), balances, new_ms=new_ms)
    ]


def _has_room(batch: Any, budget: Any | None, balances: dict[int, Balance], *, new_ms: int) -> bool:
    if budget is None:
        return True
    then = batch.on_budget or budget.on_limit
    if then == OnLimit.REJECT or (then == OnLimit.DOWNGRADE and budget.updated_ms > new_ms):
        return True
    if batch.waits_for_nanos is None:
        return bool(budget.allows_unpriced)
    balance = balances.get(budget.id, Balance(limit_nanos=budget.limit_nanos))
    return balance.room(batch.waits_for_nanos) is not Room.NEVER


def _are_prices_new(tx: Transaction, new_ms: int) -> bool:
    changed = select(catalogue.c.model).where(catalogue.c.updated_ms > new_ms).limit(1)
    return bool(tx.rows(changed))


def _balances(tx: Transaction, ids: list[int]) -> dict[int, Balance]:
    """By budget: its period that is now, as far as that has begun."""
    return {row.budget_id: balance_of(row) for row in tx.rows(_now, ids=ids, now_ms=tx.now_ms)}
