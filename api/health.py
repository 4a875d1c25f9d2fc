"""`/health`: whether the service lives."""

from fastapi import APIRouter

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> dict[str, str]:
    """That it does."""
    return {"status": "alive"}
