"""All of `/admin`, for keys of scope admin only."""

from fastapi import APIRouter, Depends

from api.admin import budget_reports, budgets, cache, costs, health, mill, providers, schedules, usage
from api.auth import Scope, require
from api.errors import ERRORS

# The prefix is each part's own: metrics know a route by the path that it was made with.
router = APIRouter(tags=["admin"], responses=ERRORS, dependencies=[Depends(require(Scope.ADMIN))])
for part in (usage, budgets, budget_reports, costs, cache, providers, mill, schedules, health):
    router.include_router(part.router)
