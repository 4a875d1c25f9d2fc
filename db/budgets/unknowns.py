"""Unknowns: calls of which nobody knows whether they were billed; listed, and settled when somebody finds out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, bindparam, func, or_, select, update

from batchmill.budgets.balance import Charge
from batchmill.requests.ids import PLACE_BITS
from batchmill.requests.model import AttemptState
from db import batches as batch_rows
from db import ledger
from db.budgets.holds import Till, periods_of
from db.bulk import INT, bulk_update
from db.engine import Transaction
from db.prepared import Prepared, among
from db.tables import attempts, batches, budget_periods, budgets, inputs, requests, word

_columns = (
    attempts.c.id,
    attempts.c.request_id,
    attempts.c.number,
    attempts.c.provider,
    attempts.c.model,
    attempts.c.sent_ms,
    attempts.c.hold_nanos,
    attempts.c.held_on,
    attempts.c.error,
)
_open = (
    select(*_columns, batches.c.public_id, inputs.c.custom_id)
    .join_from(attempts, inputs, inputs.c.request_id == attempts.c.request_id)
    .join(batches, batches.c.id == inputs.c.batch_id)
    .where(attempts.c.state == word(AttemptState.UNKNOWN))
)
# The most that a call could cost may be known although no budget covers it.
_is_held = attempts.c.held_on != ""
_lock = Prepared(
    select(*_columns)
    .where(among(attempts.c.id, "ids"), attempts.c.state == word(AttemptState.UNKNOWN))
    .order_by(attempts.c.id)
    .with_for_update()
)
_facts = Prepared(
    select(
        requests.c.id,
        requests.c.batch_id,
        func.coalesce(func.nullif(requests.c.request_type, ""), batches.c.request_type).label("request_type"),
        requests.c.is_auto,
        batches.c.endpoint,
        batches.c.tenant,
        batches.c.user_id,
        batches.c.agent,
    )
    .join_from(requests, batches, batches.c.id == requests.c.batch_id)
    .where(among(requests.c.id, "requests"))
)
_periods = Prepared(
    select(
        budget_periods.c.id,
        budgets.c.scope,
        budgets.c.name,
        budgets.c.period,
        budget_periods.c.start_ms,
        budget_periods.c.end_ms,
    )
    .join_from(budget_periods, budgets, budgets.c.id == budget_periods.c.budget_id)
    .where(among(budget_periods.c.id, "ids"))
    .order_by(budgets.c.id, budget_periods.c.start_ms)
)
_settle = bulk_update(
    {"id": INT, "cost_nanos": INT},
    lambda row: (
        update(attempts)
        .where(attempts.c.id == row["id"])
        .values(
            state=word(AttemptState.SETTLED),
            cost_nanos=row["cost_nanos"],
            ended_ms=bindparam("at_ms", type_=INT),
        )
    ),
)


@dataclass(slots=True)
class Settled:
    """What came of settling.

    Attributes:
        calls: How many were unknown, and are not any more.
        cost_nanos: What they came to.
        held_nanos: What had been charged for them.
        changes: By period of a budget: by how much what is spent in it has changed, in nano-dollars.
    """

    calls: int = 0
    cost_nanos: int = 0
    held_nanos: int = 0
    changes: Counter[int] = field(default_factory=Counter)

    def add(self, more: "Settled") -> None:
        """Add what came of another step."""
        self.calls += more.calls
        self.cost_nanos += more.cost_nanos
        self.held_nanos += more.held_nanos
        self.changes.update(more.changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which of the unknown calls.

    Attributes:
        batch: Row number of their batch; None = any.
        sent_since_ms: Sent from then on, in milliseconds since 1970; None = whenever.
        sent_before_ms: Sent before then; None = whenever.
    """

    batch: int | None = None
    sent_since_ms: int | None = None
    sent_before_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """How many they are.

    Attributes:
        held_nanos: What is charged for them until they are settled.
        unheld: How many of them no budget covered: nothing is charged for those.
    """

    calls: int
    held_nanos: int
    unheld: int


def total(tx: Transaction, selection: Selection) -> Total:
    """How many calls are unknown, and what is charged for them."""
    counted = select(
        func.count().label("calls"),
        func.coalesce(func.sum(attempts.c.hold_nanos).filter(_is_held), 0).label("held"),
        func.count().filter(~_is_held).label("unheld"),
    ).where(attempts.c.state == word(AttemptState.UNKNOWN), *_conditions(selection))
    (row,) = tx.rows(counted)
    return Total(calls=row.calls, held_nanos=int(row.held), unheld=row.unheld)


def page(
    tx: Transaction, selection: Selection, *, after: tuple[int, int] = (0, 0), most: int
) -> Sequence[Any]:
    """The first so many unknown calls after one of them, by line and number.

    Rows of `id, request_id, number, provider, model, sent_ms, hold_nanos, held_on, error, public_id, custom_id`.

    Args:
        after: Request and number of the last one seen.
    """
    request, number = after
    beyond = or_(
        attempts.c.request_id > request,
        and_(attempts.c.request_id == request, attempts.c.number > number),
    )
    ordered = _open.where(attempts.c.request_id >= request, beyond, *_conditions(selection))
    return tx.rows(ordered.order_by(attempts.c.request_id, attempts.c.number).limit(most))


def settle(tx: Transaction, costs: Mapping[int, int]) -> Settled:
    """Settle those of these calls that are still unknown at these costs, in nano-dollars, by attempt.

    The ledger gets a correction for each, their batches and budgets are charged with the cost in place of the hold;
    their lines stay as they are. What is known by now is left alone, so that nothing is settled twice.
    """
    found = tx.rows(_lock, ids=sorted(costs))
    if not found:
        return Settled()
    facts = {row.id: row for row in tx.rows(_facts, requests=sorted({row.request_id for row in found}))}
    found = [row for row in found if row.request_id in facts]
    tx.bulk(_settle, [{"id": row.id, "cost_nanos": costs[row.id]} for row in found], at_ms=tx.now_ms)
    ledger.append(tx, [ledger.of_evidence(tx, row, facts[row.request_id], costs[row.id]) for row in found])
    changes: dict[int, dict[str, int]] = {}
    for row in found:
        change = changes.setdefault(facts[row.request_id].batch_id, {"spent_nanos": 0, "unknown_attempts": 0})
        change["spent_nanos"] += costs[row.id]
        change["unknown_attempts"] -= 1
    batch_rows.count(tx, changes)
    charges = [_charge(row, costs[row.id]) for row in found if row.held_on]
    Till(tx, charges, []).write()
    settled = Settled(
        calls=len(found),
        cost_nanos=sum(costs[row.id] for row in found),
        held_nanos=sum(charge.hold_nanos for charge in charges),
    )
    for charge in charges:
        settled.changes.update(dict.fromkeys(charge.periods, charge.amount_nanos - charge.hold_nanos))
    return settled


def periods(tx: Transaction, ids: Sequence[int]) -> Sequence[Any]:
    """These periods of budgets, by budget: rows of `id, scope, name, period, start_ms, end_ms`."""
    return tx.rows(_periods, ids=list(ids))


def _charge(row: Any, cost_nanos: int) -> Charge:
    return Charge(
        periods=periods_of(row.held_on),
        hold_nanos=row.hold_nanos,
        cost_nanos=cost_nanos,
        was_unknown=True,
        sent_ms=row.sent_ms,
        provider=row.provider,
        model=row.model,
    )


def _conditions(selection: Selection) -> list[Any]:
    conditions: list[Any] = []
    if selection.batch is not None:
        first = selection.batch << PLACE_BITS
        conditions.append(attempts.c.request_id.between(first, first + (1 << PLACE_BITS) - 1))
    if selection.sent_since_ms is not None:
        conditions.append(attempts.c.sent_ms >= selection.sent_since_ms)
    if selection.sent_before_ms is not None:
        conditions.append(attempts.c.sent_ms < selection.sent_before_ms)
    return conditions
