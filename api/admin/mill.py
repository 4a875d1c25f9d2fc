"""`/admin/health`, `/admin/queues`, `/admin/batches`: how the mill is, and what is in it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from api.admin.fields import Words
from api.admin.findings import FindingBody
from api.auth import Serving
from batchmill.findings import findings_view
from batchmill.requests.model import BatchState, Lane
from db import listings
from workers.doctor import examine
from workers.naming import batch_named
from workers.queues import queues
from workers.queues import view as queues_view
from workers.views import view

router = APIRouter(prefix="/admin")


class Health(BaseModel):
    """What the doctor found; warnings do not count against being well."""

    well: bool
    findings: list[FindingBody]


class LaneBody(BaseModel):
    """A lane: `batches` that have not ended, by state; requests without an answer that nobody is asked right
    now, and those whose call is out; messages to workers that lie about."""

    lane: Lane
    batches: dict[BatchState, int]
    pending: int
    in_flight: int
    doorbells: int | None


class Workers(BaseModel):
    """Of the service's own home alive and dead; and how many others are on the list."""

    alive: int
    dead: int
    elsewhere: int


class Queues(BaseModel):
    """All lanes, and who is there for them."""

    lanes: list[LaneBody]
    broker: str
    workers: Workers


class BatchBody(BaseModel):
    """A batch, whoever's it is. Times are UTC, money is exact dollars."""

    id: str
    state: BatchState
    lane: Lane
    endpoint: str | None
    job_name: str | None
    request_type: str | None
    tenant: str
    user: str | None
    agent: str | None
    upstream: str | None
    total: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    pending: int
    cached: int
    calls: int
    unknown_attempts: int
    cost_usd: str
    unpriced: int
    created_at: str
    started_at: str | None
    ended_at: str | None
    deadline: str | None
    paused_reason: str | None
    last_error: str | None
    output: str | None
    removed_at: str | None


@router.get("/health", response_model=Health, summary="Findings of the doctor")
def read_health(service: Serving) -> dict[str, Any]:
    """What `batchmill doctor` finds: the surroundings, and every promise that the database keeps. It reads the whole
    of the books, so no probe should ask it: `/health/ready` is for these."""
    return findings_view(list(examine(service.settings)))


@router.get("/queues", response_model=Queues, summary="Queues")
def read_queues(service: Serving) -> dict[str, Any]:
    """By lane what there is to do and what is being done, and how many workers there are."""
    return queues_view(queues(service.database, service.settings))


@router.get("/batches", response_model=list[BatchBody], summary="List batches of all tenants")
def list_batches(
    service: Serving,
    response: Response,
    state: Annotated[list[BatchState], Query(description="Only in one of these.")] = [],  # noqa: B006
    job_name: Words | None = None,
    tenant: Words | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 20,
    after: Annotated[Words | None, Query(description="Only older than this one: the next page.")] = None,
) -> list[dict[str, Any]]:
    """The batches of all tenants, newest first, as `batchmill list` tells them; the header `x-has-more` says whether
    there are older ones."""
    before = None if after is None else batch_named(service.database, after).id
    with service.database.read() as tx:
        rows = listings.page(
            tx, most=limit + 1, before=before, states=state, job_name=job_name, tenant=tenant
        )
    response.headers["x-has-more"] = "true" if len(rows) > limit else "false"
    return [view(row) for row in rows[:limit]]
