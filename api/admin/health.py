"""`/admin/health/components`, `/admin/alerts`: how the parts of the mill are, and what people were told."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.admin.budget_reports import Alert
from api.auth import Serving
from batchmill.alerts.message import Topic
from batchmill.health.course import HealthLevel
from db.alerts import listed
from workers.alert_views import view as alert_view
from workers.health.standing import last_checked, standing_view

router = APIRouter(prefix="/admin")


class Component(BaseModel):
    """A part of the mill, as last checked. `told_level` is what the last alert said: a single bad check sends none."""

    component: str
    level: HealthLevel
    since: str
    ill_since: str | None
    checked_at: str
    took_ms: int
    message: str
    hint: str | None
    told_level: HealthLevel


class Change(BaseModel):
    """A check that has shown another level than the one before."""

    component: str
    at: str
    level: HealthLevel
    message: str


class Standing(BaseModel):
    """How the mill is. It is well if nothing is failing and somebody has checked of late; else it is `overdue`."""

    well: bool
    overdue: bool
    components: list[Component]
    changes: list[Change]


@router.get("/health/components", response_model=Standing, summary="Health of every component")
def read_components(service: Serving) -> dict[str, Any]:
    """Providers, broker, database, beat, workers, disk, queues and jobs as the job `health` has last found them, the
    worst first, and the newest changes; as `batchmill health` tells it. Nothing is asked anew, so it is cheap."""
    return standing_view(last_checked(service.settings, service.database))


@router.get("/alerts", response_model=list[Alert], summary="List alerts")
def list_alerts(
    service: Serving,
    topic: Topic | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 20,
) -> list[dict[str, Any]]:
    """What people were told of budgets and of health, newest first, as `batchmill alerts list` tells it."""
    with service.database.read() as tx:
        return [alert_view(alert, deliveries) for alert, deliveries in listed(tx, topic, most=limit)]
