"""`/admin/cache`: what the cache holds, what it was good for, and how to empty it."""

from datetime import UTC
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from api.admin.fields import Point, Words
from api.auth import Serving
from batchmill.periods import point_named
from db.cache_contents import Choice, contents, drop, would_drop
from workers.cache_views import contents_view, dropped_view

router = APIRouter(prefix="/admin/cache")


class CacheSums(BaseModel):
    """What it holds, and what it was good for since then."""

    entries: int
    live: int
    expired: int
    answer_bytes: int
    requests: int
    hits: int
    hit_rate: float | None
    saved_usd: str


class CacheRow(CacheSums):
    """The same of one request type; "" of requests without one."""

    type: str


class CacheStats(BaseModel):
    """By request type, and altogether."""

    rows: list[CacheRow]
    total: CacheSums


class CacheClear(BaseModel):
    """Which entries go; without a filter all."""

    model_config = ConfigDict(extra="forbid")

    type: Words | None = None
    tenant: Words | None = None
    model: Words | None = None
    older_than: Point | None = Field(
        None, description="Only those made before: 7d, 24h, a date, an ISO time (UTC)."
    )
    dry_run: StrictBool = Field(False, description="Only say what would go.")


class CacheCleanup(BaseModel):
    """How expired entries go."""

    model_config = ConfigDict(extra="forbid")

    dry_run: StrictBool = Field(False, description="Only say what would go.")


class Dropped(BaseModel):
    """What went, or would go."""

    entries: int
    answers: int
    answer_bytes: int
    dropped: bool


@router.get("", response_model=CacheStats, summary="Statistics of the cache")
def cache_stats(service: Serving, since: Point = "30d") -> dict[str, Any]:
    """What the cache holds, and what it has saved since then, as `batchmill cache stats` tells it."""
    since_ms = point_named("since", since, zone=UTC, now_ms=service.database.now_ms())
    return contents_view(contents(service.database, since_ms or 0))


@router.post("/clear", response_model=Dropped, summary="Clear the cache")
def clear_cache(service: Serving, which: CacheClear) -> dict[str, Any]:
    """Drop entries: their questions are asked, and paid for, anew. Results of batches stay readable."""
    now_ms = service.database.now_ms()
    before_ms = point_named("older_than", which.older_than, zone=UTC, now_ms=now_ms)
    choice = Choice(
        made_by_ms=now_ms if before_ms is None else before_ms,
        request_type=which.type,
        tenant=which.tenant,
        model=which.model,
    )
    return _dropped(service, choice, is_done=not which.dry_run)


@router.post("/cleanup", response_model=Dropped, summary="Clean the cache up")
def clean_cache(service: Serving, how: CacheCleanup) -> dict[str, Any]:
    """Drop expired entries, and the answers that nothing points to any more."""
    now_ms = service.database.now_ms()
    choice = Choice(made_by_ms=now_ms, expired_by_ms=now_ms)
    return _dropped(service, choice, is_done=not how.dry_run)


def _dropped(service: Serving, choice: Choice, *, is_done: bool) -> dict[str, Any]:
    found = drop(service.database, choice) if is_done else would_drop(service.database, choice)
    return dropped_view(found, is_done=is_done)
