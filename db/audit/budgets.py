"""Budgets: what is spent and held on each is what the ledger and the calls in flight say, and within its limit."""

from typing import Any

from sqlalchemy import Text, case, cast, func, literal, or_, select

from batchmill.money.nanos import usd_text
from batchmill.requests.model import AttemptState
from db.audit.check import Check
from db.tables import attempts, budget_periods, budgets, ledger

_entered = (
    select(ledger.c.attempt_id, func.sum(ledger.c.cost_nanos).label("cost_nanos"))
    .where(ledger.c.attempt_id.is_not(None))
    .group_by(ledger.c.attempt_id)
    .subquery("entered")
)


def _sum(state: AttemptState, amount: Any) -> Any:
    return func.sum(case((attempts.c.state == state, amount), else_=0))


# Calls that are held on the same periods go together first: there are few such groups, and they can be compared with
# every period.
_groups = (
    select(
        attempts.c.held_on,
        _sum(AttemptState.SENT, attempts.c.hold_nanos).label("held"),
        _sum(AttemptState.UNKNOWN, attempts.c.hold_nanos).label("unknown"),
        # What the ledger does not know either is charged at its hold.
        _sum(AttemptState.SETTLED, func.coalesce(_entered.c.cost_nanos, attempts.c.hold_nanos)).label(
            "settled"
        ),
    )
    .join_from(attempts, _entered, _entered.c.attempt_id == attempts.c.id, isouter=True)
    .where(attempts.c.held_on != "")
    .group_by(attempts.c.held_on)
    .subquery("groups")
)
_is_held_on = _groups.c.held_on.contains(literal(",") + cast(budget_periods.c.id, Text) + ",")
_of_calls = (
    select(
        budget_periods.c.id,
        *(func.coalesce(func.sum(_groups.c[name]), 0).label(name) for name in ("held", "unknown", "settled")),
    )
    .join_from(budget_periods, _groups, _is_held_on, isouter=True)
    .group_by(budget_periods.c.id)
    .subquery("of_calls")
)
_spent = budget_periods.c.opening_nanos + _of_calls.c.settled + _of_calls.c.unknown
# What had been spent before there was the budget may be above it.
_allowed = case(
    (budget_periods.c.opening_nanos > budget_periods.c.ceiling_nanos, budget_periods.c.opening_nanos),
    else_=budget_periods.c.ceiling_nanos,
)
_named = (budgets.c.scope, budgets.c.name, budgets.c.period)


def _usd(nanos: Any) -> str:
    return f"${usd_text(int(nanos))}"


def _title(row: Any) -> str:
    return " ".join(word for word in (row.scope, row.name, row.period) if word)


balances = Check(
    name="budgets",
    invariant=7,
    promise="what is spent and held on each budget is what the ledger and the calls in flight say",
    broken=select(
        *_named,
        budget_periods.c.id.label("period_id"),
        budget_periods.c.spent_nanos,
        budget_periods.c.held_nanos,
        budget_periods.c.unknown_nanos,
        _spent.label("spent"),
        _of_calls.c.held,
        _of_calls.c.unknown,
    )
    .join_from(budget_periods, _of_calls, _of_calls.c.id == budget_periods.c.id)
    .join(budgets, budgets.c.id == budget_periods.c.budget_id)
    .where(
        or_(
            budget_periods.c.spent_nanos != _spent,
            budget_periods.c.held_nanos != _of_calls.c.held,
            budget_periods.c.unknown_nanos != _of_calls.c.unknown,
        )
    )
    .order_by(budget_periods.c.id),
    tell=lambda row: (
        f"{_title(row)}, period {row.period_id}: spent {_usd(row.spent_nanos)}, held {_usd(row.held_nanos)},"
        f" unknown {_usd(row.unknown_nanos)}; by the ledger and the calls"
        f" {_usd(row.spent)}, {_usd(row.held)}, {_usd(row.unknown)}"
    ),
)

limits = Check(
    name="budget-limits",
    invariant=6,
    promise="no budget is overspent, but by calls that cost more than was held for them",
    broken=select(
        *_named,
        budget_periods.c.id.label("period_id"),
        budget_periods.c.spent_nanos,
        budget_periods.c.held_nanos,
        budget_periods.c.ceiling_nanos,
        budget_periods.c.overrun_nanos,
    )
    .join_from(budget_periods, budgets, budgets.c.id == budget_periods.c.budget_id)
    .where(
        budget_periods.c.spent_nanos + budget_periods.c.held_nanos > _allowed + budget_periods.c.overrun_nanos
    )
    .order_by(budget_periods.c.id),
    tell=lambda row: (
        f"{_title(row)}, period {row.period_id}: {_usd(row.spent_nanos)} spent and {_usd(row.held_nanos)} held"
        f" of {_usd(row.ceiling_nanos)}, overrun {_usd(row.overrun_nanos)}"
    ),
)
