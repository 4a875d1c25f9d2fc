"""Waiting: which of the batches that a budget has paused may go on."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from batchmill.budgets.balance import Balance, Room
from batchmill.budgets.model import OnLimit
from db.budgets.rows import IS_NOW, balance_of
from db.engine import Transaction
from db.tables import budget_periods, budgets, catalogue

NEW_MS = 30_000
"""So long a change of the catalogue is looked at by every sweep, and taken up by every worker."""


def with_room(tx: Transaction, waiting: Sequence[Any]) -> list[int]:
    """The ids of those of these batches whose budget has room again: raised, turned, refunded, or gone.

    One whose call has no known price goes on when the budget allows that, or is gone, or when prices have changed just
    now; one whose lines are to be rejected by now goes on too, so that they are.

    Args:
        waiting: Rows of `batches` with `waits_for_budget_id` and `waits_for_nanos`.
    """
    ids = sorted({batch.waits_for_budget_id for batch in waiting})
    if not ids:
        return []
    in_force = select(budgets).where(budgets.c.id.in_(ids), budgets.c.removed_ms.is_(None))
    by_id = {row.id: row for row in tx.rows(in_force)}
    balances = _balances(tx, ids)
    are_prices_new = _are_prices_new(tx)
    return [
        batch.id
        for batch in waiting
        if _has_room(batch, by_id.get(batch.waits_for_budget_id), balances, are_prices_new=are_prices_new)
    ]


def _has_room(batch: Any, budget: Any | None, balances: dict[int, Balance], *, are_prices_new: bool) -> bool:
    if budget is None or (batch.on_budget or budget.on_limit) == OnLimit.REJECT:
        return True
    if batch.waits_for_nanos is None:
        return bool(budget.allows_unpriced) or are_prices_new
    balance = balances.get(budget.id, Balance(limit_nanos=budget.limit_nanos))
    return balance.room(batch.waits_for_nanos) is not Room.NEVER


def _are_prices_new(tx: Transaction) -> bool:
    changed = select(catalogue.c.model).where(catalogue.c.updated_ms > tx.now_ms - NEW_MS).limit(1)
    return bool(tx.rows(changed))


def _balances(tx: Transaction, ids: Sequence[int]) -> dict[int, Balance]:
    """By budget: its period that is now, as far as that has begun."""
    now = select(budget_periods).where(budget_periods.c.budget_id.in_(ids), IS_NOW)
    return {row.budget_id: balance_of(row) for row in tx.rows(now, now_ms=tx.now_ms)}
