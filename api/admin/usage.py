"""`/admin/usage`: what was used and what it cost, from the ledger."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.admin.fields import Point, Words
from api.auth import Serving
from batchmill.money.summary import FILTERS, Column
from batchmill.periods import zone_of
from db.usage import summarize
from workers.usage import selected, view

router = APIRouter(prefix="/admin")


class UsageQuery(BaseModel):
    """Which entries are added up, and by what."""

    by: list[Column] = [Column.MODEL]
    since: Point | None = None
    until: Point | None = None
    timezone: Words = "UTC"
    model: Words | None = None
    provider: Words | None = None
    tenant: Words | None = None
    user: Words | None = None
    agent: Words | None = None
    type: Words | None = None
    endpoint: Words | None = None
    batch: Words | None = None
    job: Words | None = None


class UsageRow(BaseModel):
    """What the entries of the same names come to; the names are those that were asked for."""

    model: str | None = None
    provider: str | None = None
    tenant: str | None = None
    user: str | None = None
    agent: str | None = None
    type: str | None = None
    endpoint: str | None = None
    day: str | None = None
    batch: str | None = None
    job: str | None = None
    requests: int
    calls: int
    hits: int
    unknown: int
    unpriced: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: str


class UsageTotal(BaseModel):
    """All of them together; a request that is in several rows counts once."""

    requests: int
    calls: int
    hits: int
    unknown: int
    cost_usd: str


class Usage(BaseModel):
    """A usage report, dearest first, days in their order."""

    rows: list[UsageRow]
    total: UsageTotal


@router.get("/usage", response_model=Usage, response_model_exclude_unset=True, summary="Report usage")
def read_usage(service: Serving, asked: Annotated[UsageQuery, Query()]) -> dict[str, Any]:
    """What was used and what it cost, as `batchmill usage` tells it."""
    zone = zone_of(asked.timezone)
    selection = selected(
        service.database,
        since=asked.since,
        until=asked.until,
        zone=zone,
        only={column: getattr(asked, column.value) for column in FILTERS},
    )
    return view(summarize(service.database, list(dict.fromkeys(asked.by)), selection, zone=zone))
