"""`/admin/budgets/…`: how budgets were used, what their owners were told, and whether the ledger says the same."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from api.admin.budgets import Budget
from api.admin.fields import Name
from api.admin.findings import FindingBody
from api.auth import Serving
from batchmill.alerts.delivery import ChannelName, DeliveryState
from batchmill.alerts.message import Severity, Topic
from batchmill.budgets.model import Origin, Period, Scope
from db.alerts import listed
from workers.alert_views import view as alert_view
from workers.budget_audit import audited
from workers.budget_audit import view as audit_view
from workers.budget_history import histories
from workers.budget_history import view as history_view
from workers.budgets import define_environment_budgets

router = APIRouter(prefix="/admin/budgets")


class PastPeriod(BaseModel):
    """A period that is over."""

    since: str | None
    until: str | None
    limit_usd: str
    spent_usd: str
    unknown_usd: str
    overrun_usd: str
    held_usd: str


class Delivery(BaseModel):
    """How far an alert has come on one channel."""

    channel: ChannelName
    state: DeliveryState
    tries: int
    next_try_at: str | None
    sent_at: str | None
    error: str | None


class Alert(BaseModel):
    """What people were told; the fields beside are those of the webhook."""

    model_config = ConfigDict(extra="allow")

    id: str
    type: str
    at: str
    severity: Severity
    verdict: str
    deliveries: list[Delivery]


class BudgetHistory(Budget):
    """A budget with its past periods and alerts, newest first."""

    past_periods: list[PastPeriod]
    alerts: list[Alert]


class Side(BaseModel):
    """One sum of a period, as both have it."""

    budget_usd: str
    ledger_usd: str
    difference_usd: str


class AuditedPeriod(BaseModel):
    """A period of a budget against the ledger."""

    scope: Scope
    name: str | None
    period: Period
    origin: Origin
    since: str | None
    until: str | None
    limit_usd: str
    opening_usd: str
    spent: Side
    held: Side
    unknown: Side
    overrun: Side


class Audit(BaseModel):
    """Whether budgets and ledger say the same."""

    clean: bool
    periods: list[AuditedPeriod]
    findings: list[FindingBody]


@router.get("/history", response_model=list[BudgetHistory], summary="History of budgets")
def read_history(service: Serving, scope: Scope, name: Name = "") -> list[dict[str, Any]]:
    """The budgets of one name with past periods and alerts, as `batchmill budget show` tells them."""
    define_environment_budgets(service.database, service.settings)
    return [history_view(history) for history in histories(service.database, scope, name)]


@router.get("/alerts", response_model=list[Alert], summary="List alerts of budgets")
def list_alerts(service: Serving, limit: Annotated[int, Query(ge=1, le=10_000)] = 20) -> list[dict[str, Any]]:
    """The alerts that budgets have given, newest first, as `batchmill budget alerts` tells them."""
    with service.database.read() as tx:
        return [alert_view(alert, deliveries) for alert, deliveries in listed(tx, Topic.BUDGET, most=limit)]


@router.get("/audit", response_model=Audit, summary="Audit budgets")
def audit_budgets(service: Serving) -> dict[str, Any]:
    """Hold all budgets against the ledger, to the nano-dollar; nothing is mended."""
    return audit_view(audited(service.database))
