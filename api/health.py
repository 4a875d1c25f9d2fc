"""`/health/live` and `/health/ready`: for whoever starts, stops and routes to the service. Open to everyone, so they
name what is wrong and nothing else."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from api.auth import Serving
from workers.serving.readiness import Readiness, checks_of

router = APIRouter(prefix="/health", tags=["health"])


class Live(BaseModel):
    """That the service lives."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """Whether the service can do its work, and which check says otherwise."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, Literal["ok", "failing"]]


@router.get("/live", response_model=Live, summary="Whether the service lives")
async def live() -> Live:
    """200 for as long as the process answers at all."""
    return Live()


@router.get(
    "/ready",
    response_model=Ready,
    responses={503: {"model": Ready, "description": "It cannot."}},
    summary="Whether the service is ready",
)
def ready(request: Request, response: Response, service: Serving) -> Ready:
    """Whether the database is there and of our schema, files can be written, and a shared broker is reachable; each
    within two seconds. 503 when something is not; why, the log says."""
    found = _readiness(request, service).look()
    is_ready = all(found.values())
    if not is_ready:
        response.status_code = 503
    return Ready(
        status="ready" if is_ready else "not_ready",
        checks={name: "ok" if is_there else "failing" for name, is_there in found.items()},
    )


def _readiness(request: Request, service: Serving) -> Readiness:
    """The app's one, made at the first look."""
    state = request.app.state
    if not hasattr(state, "readiness"):
        state.readiness = Readiness(checks_of(service))
    readiness: Readiness = state.readiness
    return readiness
