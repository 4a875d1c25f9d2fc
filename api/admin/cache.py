"""`/admin/cache`: what the cache holds, what it was good for, and how it is kept small or emptied."""

from datetime import UTC
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from api.admin.fields import Point, Words
from api.auth import Serving
from batchmill.cache.verdicts import Verdict
from batchmill.periods import point_named
from db.cache_contents import Choice, contents, drop, expired, would_drop
from workers.cache_upkeep import clean_up, room_of
from workers.cache_views import clean_up_view, contents_view, dropped_view

router = APIRouter(prefix="/admin/cache")


class Verdicts(BaseModel):
    """What is to be thought of its figures; null of what is not known."""

    hit_rate: Verdict | None
    error_rate: Verdict | None
    response_s: Verdict | None
    cost_usd: Verdict | None


class CacheSums(BaseModel):
    """What it holds, and what it was good for since then."""

    entries: int
    live: int
    expired: int
    verified: int
    answer_bytes: int
    hits_per_entry: float | None
    requests: int
    hits: int
    hit_rate: float | None
    error_rate: float | None
    response_s: float | None
    cost_per_request_usd: str | None
    saved_usd: str
    verdicts: Verdicts


class CacheRow(CacheSums):
    """The same of one request type; "" of requests without one."""

    type: str


class CacheRoom(BaseModel):
    """The most that the cache may hold; 0 = without a limit."""

    max_entries: int
    max_mb: int


class CacheBounds(BaseModel):
    """From where on a figure is good, and from where on it is at least fair."""

    good: float
    fair: float


class CacheStats(BaseModel):
    """By request type, and altogether."""

    rows: list[CacheRow]
    total: CacheSums
    room: CacheRoom
    bounds: dict[str, CacheBounds]


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


class CacheOptimize(BaseModel):
    """How small it is to be; what is left out is as the settings say."""

    model_config = ConfigDict(extra="forbid")

    max_mb: StrictInt | None = Field(None, ge=0, le=10**9, description="Size of the answers; 0 = any.")
    max_entries: StrictInt | None = Field(None, ge=0, le=10**10, description="Number of entries; 0 = any.")
    dry_run: StrictBool = Field(False, description="Only say what would go.")


class CacheSize(BaseModel):
    """So many entries, and bytes of the answers that they point to."""

    entries: int
    answer_bytes: int


class CacheFreed(BaseModel):
    """Answers that nothing pointed to any more, and their size."""

    answers: int
    answer_bytes: int


class CacheDrops(CacheFreed):
    """Entries that went, and the answers that went with them."""

    entries: int


class Optimized(BaseModel):
    """What went, or would go, and what stays."""

    dropped: bool
    room: CacheRoom
    held: CacheSize
    expired: CacheDrops
    by_worth: CacheSize
    freed: CacheFreed
    left: CacheSize
    cut_usd_per_mb: str | None
    steps: int
    longest_step_ms: int


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
    return contents_view(contents(service.database, since_ms or 0), room_of(service.settings))


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
    return _dropped(service, expired(service.database.now_ms()), is_done=not how.dry_run)


@router.post("/optimize", response_model=Optimized, summary="Fit the cache into its size")
def optimize_cache(service: Serving, how: CacheOptimize) -> dict[str, Any]:
    """Drop what has expired, then what is worth least until it fits. It answers when it is done: a large cache takes
    minutes."""
    room = room_of(service.settings, max_mb=how.max_mb, max_entries=how.max_entries)
    return clean_up_view(clean_up(service.database, room, is_dry=how.dry_run))


def _dropped(service: Serving, choice: Choice, *, is_done: bool) -> dict[str, Any]:
    found = drop(service.database, choice) if is_done else would_drop(service.database, choice)
    return dropped_view(found, is_done=is_done)
