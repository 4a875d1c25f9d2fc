"""`/admin/schedules`: what runs by itself."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.auth import Serving
from batchmill.settings.schedules import JobName
from db import schedules
from workers.timekeeping import run_view, standings, view

router = APIRouter(prefix="/admin/schedules")


class RunBody(BaseModel):
    """A run of a job. `killed`: whoever ran it is gone, another takes over. `detail`: what came of it."""

    job: str
    due_at: str
    state: Literal["running", "done", "failed", "killed"]
    tries: int
    started_at: str
    ended_at: str | None
    took_s: float | None
    outcome: str | None
    detail: dict[str, Any]
    error: str | None
    owner: str


class JobBody(BaseModel):
    """A job: `when` as it is set, `late_since` when somebody should have run it and nobody has, `note` where the mill
    does it by itself."""

    job: JobName
    meaning: str
    when: str
    when_in_words: str
    next_due_at: str | None
    late_since: str | None
    note: str | None
    last_run: RunBody | None


@router.get("", response_model=list[JobBody], summary="What runs by itself")
def list_jobs(service: Serving) -> list[dict[str, Any]]:
    """Each job, when it is due and how it went last, as `batchmill schedules list` tells it. Times are UTC."""
    return list(map(view, standings(service.settings, service.database)))


@router.get("/runs", response_model=list[RunBody], summary="Runs of what runs by itself")
def list_runs(
    service: Serving,
    job: Annotated[JobName | None, Query(description="Only of this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 20,
) -> list[dict[str, Any]]:
    """The last runs, the last begun first; of each job the newest 200 are kept."""
    with service.database.read() as tx:
        return list(map(run_view, schedules.listed(tx, job, most=limit)))
