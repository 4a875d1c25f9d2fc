"""Budgets as tests make them, and what is in them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import insert, select, update

from batchmill.alerts.budget import facts_of
from batchmill.alerts.message import Topic
from batchmill.budgets.balance import Balance
from batchmill.budgets.calendar import span_of
from batchmill.budgets.edits import Changes
from batchmill.budgets.model import Budget, OnLimit, Period, Scope
from batchmill.budgets.standing import Standing
from batchmill.requests.ids import request_id
from db.budgets import definitions
from db.budgets.rows import budget_of
from db.budgets.standings import standings
from db.engine import Database
from db.tables import alerts, budget_periods, budgets, ledger
from tests.support.hands import Worker, add_batch
from tests.support.replies import ANSWERED, PRICE_NANOS


def add_budget(
    database: Database,
    limit_nanos: int,
    *,
    scope: Scope = Scope.GLOBAL,
    name: str = "",
    period: Period = Period.TOTAL,
    zone: str = "UTC",
    on_limit: OnLimit = OnLimit.PAUSE,
    thresholds: str = "75,90,100",
    allows_unpriced: bool = False,
    downgrade_percent: int = 100,
) -> int:
    """A budget; its row number."""
    key = Budget(scope=scope, name=name, period=period, limit_nanos=limit_nanos).key
    with database.write() as tx:
        made = insert(budgets).values(
            scope=scope,
            name=name,
            key=key,
            period=period,
            zone=zone,
            origin="command",
            limit_nanos=limit_nanos,
            thresholds=thresholds,
            on_limit=on_limit,
            downgrade_percent=downgrade_percent,
            allows_unpriced=allows_unpriced,
            created_ms=tx.now_ms,
            updated_ms=tx.now_ms,
        )
        return int(tx.rows(made.returning(budgets.c.id))[0].id)


def raise_limit(database: Database, budget: int, limit_nanos: int) -> None:
    """Another limit from now on."""
    with database.write() as tx:
        tx.run(update(budgets).where(budgets.c.id == budget).values(limit_nanos=limit_nanos))
        tx.run(
            update(budget_periods)
            .where(budget_periods.c.budget_id == budget)
            .values(limit_nanos=limit_nanos, ceiling_nanos=limit_nanos)
        )


def periods_of(database: Database, budget: int) -> list[Any]:
    """Its periods, the first one first."""
    wanted = select(budget_periods).where(budget_periods.c.budget_id == budget)
    with database.read() as tx:
        return list(tx.rows(wanted.order_by(budget_periods.c.start_ms)))


def amounts_of(database: Database, budget: int) -> tuple[int, int]:
    """What is spent and held, over all its periods."""
    found = periods_of(database, budget)
    return sum(row.spent_nanos for row in found), sum(row.held_nanos for row in found)


def alerts_of(database: Database, budget: int) -> list[tuple[str, str]]:
    """What its owner is to be told: kind and detail."""
    wanted = (
        select(alerts.c.kind, alerts.c.facts)
        .where(alerts.c.topic == Topic.BUDGET.value, alerts.c.subject == str(budget))
        .order_by(alerts.c.id)
    )
    with database.read() as tx:
        return [(row.kind, orjson.loads(row.facts)["detail"]) for row in tx.rows(wanted)]


def set_budgets_of(
    database: Database,
    limits: dict[Period, int],
    scope: Scope = Scope.TENANT,
    name: str = "acme",
    zone: str = "UTC",
    **changes: Any,
) -> list[Standing]:
    """Set budgets, as a command does."""
    with database.write() as tx:
        return definitions.set_budgets(tx, scope, name, limits, Changes(**changes), zone=zone)


def all_budgets(database: Database) -> list[Standing]:
    """The budgets in force."""
    with database.read() as tx:
        return standings(tx)


def standing_of(standing: Standing) -> tuple[int, int, int]:
    """Limit, spent, held."""
    balance = standing.balance
    return balance.limit_nanos, balance.spent_nanos, balance.held_nanos


def moment_ms(text: str, zone: str = "UTC") -> int:
    """A moment in milliseconds since 1970."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def enter(database: Database, entries: Iterable[dict[str, Any]]) -> None:
    """Write these into the ledger."""
    plain = {
        "kind": "call",
        "batch_id": 1,
        "request_id": request_id(1, 1),
        "endpoint": "/v1/chat/completions",
        "tenant": "acme",
        "user_id": "",
        "request_type": "",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "cost_nanos": 0,
        "cache_hit": False,
        "success": True,
    }
    with database.write() as tx:
        tx.connection.execute(insert(ledger), [plain | entry for entry in entries])


def spend(database: Database, calls: int = 1, **options: Any) -> int:
    """Answer a batch of so many lines for tenant acme, each at `PRICE_NANOS`; its row number."""
    batch = add_batch(database, calls, **{"tenant": "acme"} | options)
    worker = Worker(database)
    jobs = worker.take(only_batch=batch)
    worker.settle(*((attempt, ANSWERED) for attempt in worker.send(*jobs, hold_nanos=PRICE_NANOS)))
    return batch


def fire(
    database: Database,
    budget: int,
    detail: str = "90",
    *,
    kind: str = "threshold",
    spent_nanos: int = 4_510_000_000,
    **others: int,
) -> int:
    """An alert of a budget, as its writer would fire it now; its row number."""
    with database.write() as tx:
        [at] = tx.rows(select(budgets).where(budgets.c.id == budget))
        start_ms, end_ms = span_of(Period(at.period), at.zone, tx.now_ms)
        known = select(budget_periods.c.id).where(budget_periods.c.budget_id == budget)
        period = next((row.id for row in tx.rows(known)), None)
        if period is None:
            values = {"start_ms": start_ms, "end_ms": end_ms, "limit_nanos": at.limit_nanos}
            made = insert(budget_periods).values(budget_id=budget, ceiling_nanos=at.limit_nanos, **values)
            period = tx.rows(made.returning(budget_periods.c.id))[0].id
        balance = Balance(spent_nanos=spent_nanos, limit_nanos=at.limit_nanos)
        facts = facts_of(budget_of(at), balance, detail, period_id=period, start_ms=start_ms, end_ms=end_ms)
        fired = {"topic": "budget", "subject": str(budget), "kind": kind, "occasion": f"{period}:{detail}"}
        told = {"at_ms": tx.now_ms, "facts": orjson.dumps(facts).decode()}
        made = insert(alerts).values(**fired, **told, **others).returning(alerts.c.id)
        return int(tx.rows(made)[0].id)


def covers(budget: Any, call: Any) -> bool:
    """Whether a budget is for a call: told anew, in the plainest words.

    Args:
        budget: With `scope` and `name`.
        call: With `tenant`, `user_id`, `request_type`, `provider`, `model`, and its batch's `public_id`.
    """
    meant = {
        Scope.GLOBAL: {""},
        Scope.TENANT: {call.tenant},
        Scope.USER: {call.user_id, f"{call.tenant}/{call.user_id}"} if call.user_id else set(),
        Scope.PROVIDER: {call.provider},
        Scope.MODEL: {call.model, f"{call.provider}/{call.model}"},
        Scope.TYPE: {call.request_type} if call.request_type else set(),
        Scope.BATCH: {call.public_id},
    }
    return budget.name in meant[Scope(budget.scope)]
