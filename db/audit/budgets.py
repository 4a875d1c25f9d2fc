"""Budgets: what is spent and held on each is what the ledger and the calls in flight say, and within its limit."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import FromClause, Text, case, cast, func, or_, select, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from batchmill.money.nanos import usd_text
from batchmill.requests.model import AttemptState
from db.audit.check import Check, batch_of
from db.engine import Transaction
from db.tables import attempts, batches, budget_periods, budgets, ledger

_entered = (
    select(ledger.c.attempt_id, func.sum(ledger.c.cost_nanos).label("cost_nanos"))
    .where(ledger.c.attempt_id.is_not(None))
    .group_by(ledger.c.attempt_id)
    .subquery("entered")
)


class _texts_of(FunctionElement[str]):  # noqa: N801 - it is written as a function
    """The texts of a JSON array, a row each."""

    inherit_cache = True


@compiles(_texts_of, "sqlite")
def _texts_on_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **kw)})"


@compiles(_texts_of, "postgresql")
def _texts_on_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **kw)} AS JSON))"


def _named_in(held_on: Any) -> FromClause:
    """The periods that `attempts.held_on` names, a row each, `value` being the number as text."""
    listed = func.replace(func.trim(held_on, ","), ",", '","')
    return _texts_of('["' + listed + '"]').table_valued("value", joins_implicitly=True)


# What the ledger does not know either is charged at its hold. Where it is rolled up, the call says what it said.
_rolled_up = case((batches.c.rolled_ms.is_not(None), attempts.c.cost_nanos))
_cost = func.coalesce(_entered.c.cost_nanos, _rolled_up, attempts.c.hold_nanos)


def _sum(state: AttemptState, amount: Any) -> Any:
    return func.sum(case((attempts.c.state == state, amount), else_=0))


# Calls that are held on the same periods go together first: there are few such groups.
_groups = (
    select(
        attempts.c.held_on,
        _sum(AttemptState.SENT, attempts.c.hold_nanos).label("held"),
        _sum(AttemptState.UNKNOWN, attempts.c.hold_nanos).label("unknown"),
        _sum(AttemptState.SETTLED, _cost).label("settled"),
        _sum(
            AttemptState.SETTLED,
            case((_cost > attempts.c.hold_nanos, _cost - attempts.c.hold_nanos), else_=0),
        ).label("overrun"),
    )
    .join_from(attempts, _entered, _entered.c.attempt_id == attempts.c.id, isouter=True)
    .join(batches, batches.c.id == batch_of(attempts.c.request_id), isouter=True)
    .where(attempts.c.held_on != "")
    .group_by(attempts.c.held_on)
    .subquery("groups")
)
_AMOUNTS = ("held", "unknown", "settled", "overrun")
_named_by_calls = _named_in(_groups.c.held_on)
_sums = (
    select(_named_by_calls.c.value, *(func.sum(_groups.c[name]).label(name) for name in _AMOUNTS))
    .join_from(_groups, _named_by_calls, true())
    .group_by(_named_by_calls.c.value)
    .subquery("sums")
)
_of_calls = (
    select(budget_periods.c.id, *(func.coalesce(_sums.c[name], 0).label(name) for name in _AMOUNTS))
    .join_from(budget_periods, _sums, _sums.c.value == cast(budget_periods.c.id, Text), isouter=True)
    .subquery("of_calls")
)
# Calls that are removed have left what they came to.
_spent = (
    budget_periods.c.opening_nanos
    + budget_periods.c.removed_nanos
    + _of_calls.c.settled
    + _of_calls.c.unknown
)
_overrun = budget_periods.c.removed_overrun_nanos + _of_calls.c.overrun
# What had been spent before there was the budget may be above it.
_allowed = case(
    (budget_periods.c.opening_nanos > budget_periods.c.ceiling_nanos, budget_periods.c.opening_nanos),
    else_=budget_periods.c.ceiling_nanos,
)
_named = (budgets.c.scope, budgets.c.name, budgets.c.period)

_STORED = ("spent_nanos", "held_nanos", "unknown_nanos", "overrun_nanos", "opening_nanos", "limit_nanos")


def _usd(nanos: Any) -> str:
    return f"${usd_text(int(nanos))}"


def _title(row: Any) -> str:
    return " ".join(word for word in (row.scope, row.name, row.period) if word)


_compared = (
    select(
        *_named,
        budgets.c.origin,
        budgets.c.zone,
        budget_periods.c.id.label("period_id"),
        budget_periods.c.start_ms,
        budget_periods.c.end_ms,
        *(budget_periods.c[name] for name in _STORED),
        _spent.label("spent"),
        _of_calls.c.held,
        _of_calls.c.unknown,
        _overrun.label("overrun"),
    )
    .join_from(budget_periods, _of_calls, _of_calls.c.id == budget_periods.c.id)
    .join(budgets, budgets.c.id == budget_periods.c.budget_id)
    .order_by(budgets.c.id, budget_periods.c.start_ms)
)

balances = Check(
    name="budgets",
    invariant=7,
    promise="what is spent and held on each budget is what the ledger and the calls in flight say",
    broken=_compared.where(
        or_(
            budget_periods.c.spent_nanos != _spent,
            budget_periods.c.held_nanos != _of_calls.c.held,
            budget_periods.c.unknown_nanos != _of_calls.c.unknown,
            budget_periods.c.overrun_nanos != _overrun,
        )
    ),
    tell=lambda row: (
        f"{_title(row)}, period {row.period_id}: spent {_usd(row.spent_nanos)}, held {_usd(row.held_nanos)},"
        f" unknown {_usd(row.unknown_nanos)}, overrun {_usd(row.overrun_nanos)}; by the ledger and the calls"
        f" {_usd(row.spent)}, {_usd(row.held)}, {_usd(row.unknown)}, {_usd(row.overrun)}"
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


# A period whose row is gone, or that of its budget, would be missed by the others: calls are held on it, and no budget
# knows.
_lost = (
    select(attempts.c.held_on, func.min(attempts.c.request_id).label("request_id"))
    .where(attempts.c.held_on != "")
    .group_by(attempts.c.held_on)
    .subquery("lost")
)
_there = (
    select(cast(budget_periods.c.id, Text).label("value"))
    .join_from(budget_periods, budgets, budgets.c.id == budget_periods.c.budget_id)
    .subquery("there")
)
_named_by_lost = _named_in(_lost.c.held_on)

periods = Check(
    name="budget-periods",
    invariant=7,
    promise="every period that a call is held on is there, and its budget",
    broken=select(_lost.c.held_on, _lost.c.request_id)
    .distinct()
    .join_from(_lost, _named_by_lost, true())
    .join(_there, _there.c.value == _named_by_lost.c.value, isouter=True)
    .where(_there.c.value.is_(None)),
    tell=lambda row: (
        f"calls of it are held on the periods {row.held_on.strip(',')}, and not all of them and their budgets are there"
    ),
)


def compared(tx: Transaction) -> Sequence[Any]:
    """Every period of every budget: what its row says, and what the ledger and the calls say (`spent`, `held`,
    `unknown`, `overrun`); by budget, the first period first. `tx` is a snapshot."""
    return tx.rows(_compared)
