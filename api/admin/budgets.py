"""`/admin/budgets`: how much may be spent on what, and how it is used."""

from itertools import pairwise
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from api.admin.fields import Dollars, Name
from api.auth import Serving
from batchmill.budgets.edits import Changes
from batchmill.budgets.model import OnLimit, Origin, Period, Scope
from batchmill.budgets.standing import Standing
from batchmill.errors import MisuseError
from batchmill.periods import zone_of
from db.budgets.standings import standings
from workers.budget_views import view
from workers.budgets import define_environment_budgets, remove_budgets, reset_budgets, set_budgets

router = APIRouter(prefix="/admin/budgets")


def _ascending(percents: list[int]) -> list[int]:
    if any(after <= before for before, after in pairwise(percents)):
        raise ValueError("thresholds ascend, the lowest first")
    return percents


Percent = Annotated[int, Field(ge=1, le=100)]
Thresholds = Annotated[list[Percent], Field(min_length=1, max_length=100), AfterValidator(_ascending)]


class Budget(BaseModel):
    """A budget, and how far it is used in its current period. Times are UTC, money is exact dollars."""

    scope: Scope
    name: str | None
    period: Period
    timezone: str
    origin: Origin
    on_limit: OnLimit
    downgrade_at_percent: int
    thresholds_percent: list[int]
    allow_unpriced: bool
    since: str | None
    until: str | None
    limit_usd: str
    spent_usd: str
    unknown_usd: str
    overrun_usd: str
    opening_usd: str
    held_usd: str
    left_usd: str
    used_percent: float | None


class SetBudget(BaseModel):
    """Whose budget it is, and what is to be set of it; what is not named stays as it is."""

    model_config = ConfigDict(extra="forbid")

    scope: Scope
    name: Name = Field("", description="Whose it is; the global one has no name.")
    day_usd: Dollars | None = None
    week_usd: Dollars | None = None
    month_usd: Dollars | None = None
    total_usd: Dollars | None = None
    on_limit: OnLimit | None = None
    downgrade_at_percent: Percent | None = None
    thresholds_percent: Thresholds | None = None
    allow_unpriced: StrictBool | None = None
    timezone: Name | None = None

    @property
    def limits(self) -> dict[Period, int]:
        """In nano-dollars, by period."""
        amounts = {period: getattr(self, f"{period.value}_usd") for period in Period}
        return {period: nanos for period, nanos in amounts.items() if nanos is not None}

    @property
    def changes(self) -> Changes:
        """The rest."""
        return Changes(
            zone=self.timezone,
            thresholds=None if self.thresholds_percent is None else tuple(self.thresholds_percent),
            on_limit=self.on_limit,
            downgrade_percent=self.downgrade_at_percent,
            allows_unpriced=self.allow_unpriced,
        )


class Named(BaseModel):
    """Which budgets are meant: all of that name, or those of these periods."""

    model_config = ConfigDict(extra="forbid")

    scope: Scope
    name: Name = ""
    period: list[Period] = []


@router.get("", response_model=list[Budget], summary="List budgets")
def list_budgets(
    service: Serving,
    scope: Scope | None = None,
    name: Name | None = None,
    ended: Annotated[bool, Query(description="Also those of batches that have ended.")] = False,
) -> list[dict[str, Any]]:
    """The budgets, oldest first, as `batchmill budget list` tells them."""
    define_environment_budgets(service.database, service.settings)
    with service.database.read() as tx:
        return _views(standings(tx, scope=scope, name=name, ended_too=ended))


@router.put("", response_model=list[Budget], summary="Set budgets")
def set_budget(service: Serving, wanted: SetBudget) -> list[dict[str, Any]]:
    """Set how much may be spent, or change budgets that are there; several periods at once are several budgets."""
    if wanted.timezone is not None:
        zone_of(wanted.timezone)
    if not wanted.limits and not wanted.changes.named():
        raise MisuseError("nothing is to be set", "give an amount, as day_usd, or what else is to be changed")
    done = set_budgets(
        service.database, service.settings, wanted.scope, wanted.name, wanted.limits, wanted.changes
    )
    return _views(done)


@router.delete("", response_model=list[Budget], summary="Remove budgets")
def remove_budget(service: Serving, which: Annotated[Named, Query()]) -> list[dict[str, Any]]:
    """Remove budgets, for good; how they stood. What was spent stays in the ledger."""
    return _views(
        remove_budgets(service.database, service.settings, which.scope, which.name, _once(which.period))
    )


@router.post("/reset", response_model=list[Budget], summary="Reset budgets")
def reset_budget(service: Serving, which: Named) -> list[dict[str, Any]]:
    """Begin anew with nothing spent, until the period turns; how they stood before."""
    return _views(
        reset_budgets(service.database, service.settings, which.scope, which.name, _once(which.period))
    )


def _once(periods: list[Period]) -> list[Period]:
    return list(dict.fromkeys(periods))


def _views(found: list[Standing]) -> list[dict[str, Any]]:
    return [view(standing) for standing in found]
