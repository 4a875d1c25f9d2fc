"""Periods of budgets: each begins with the first call in it."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.budgets.calendar import span_of
from batchmill.budgets.model import Budget
from db.budgets.rows import budget_of
from db.engine import Transaction
from db.tables import budget_periods, budgets


def begin(tx: Transaction, budget_ids: Sequence[int]) -> None:
    """Let the period that is now begin for these budgets, where nobody else has; two at once do no harm.

    Whoever changes one of them waits until it has begun, or has changed it before: no period begins with an old limit.
    """
    wanted = select(budgets).where(budgets.c.id.in_(budget_ids)).order_by(budgets.c.id)
    for row in tx.rows(wanted.with_for_update(read=True)):
        open_period(tx, budget_of(row))


def open_period(tx: Transaction, budget: Budget, *, opening_nanos: int = 0) -> None:
    """Make the row of a budget's period that is now, unless it is there.

    Where the budget's zone was changed, a period does not begin before the last one has ended.

    Args:
        opening_nanos: What was spent in it before there was this row.
    """
    start_ms, end_ms = span_of(budget.period, budget.zone, tx.now_ms)
    ended = select(func.max(budget_periods.c.end_ms)).where(
        budget_periods.c.budget_id == budget.id, budget_periods.c.end_ms <= tx.now_ms
    )
    start_ms = max(start_ms, tx.rows(ended)[0][0] or start_ms)
    insert = postgresql.insert if tx.dialect == "postgresql" else sqlite.insert
    opened = insert(budget_periods).values(
        budget_id=budget.id,
        start_ms=start_ms,
        end_ms=end_ms,
        opening_nanos=opening_nanos,
        spent_nanos=opening_nanos,
        limit_nanos=budget.limit_nanos,
        ceiling_nanos=budget.limit_nanos,
    )
    tx.run(opened.on_conflict_do_nothing(index_elements=["budget_id", "start_ms"]))
