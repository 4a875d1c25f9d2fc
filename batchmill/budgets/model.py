"""A budget: so much may be spent, on such calls, in such a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

DEFAULT_THRESHOLDS = (75, 90, 100)


class Scope(StrEnum):
    """What a budget is for, in the words of the command line."""

    GLOBAL = "global"
    TENANT = "tenant"
    USER = "user"
    PROVIDER = "provider"
    MODEL = "model"
    TYPE = "type"
    BATCH = "batch"


OF_SOME_LINES = (Scope.PROVIDER, Scope.MODEL, Scope.TYPE)
"""Scopes that may cover some lines of a batch and not others."""


class Period(StrEnum):
    """How long a budget lasts until it is whole again."""

    DAY = "day"
    WEEK = "week"
    """From Monday to Sunday."""
    MONTH = "month"
    TOTAL = "total"
    """For ever."""


class OnLimit(StrEnum):
    """What becomes of a call that does not fit, and would not if every call in flight came for nothing."""

    PAUSE = "pause"
    """Its batch waits, until the period turns or the limit is raised."""
    REJECT = "reject"
    """Its line fails with `budget_exceeded`."""
    DOWNGRADE = "downgrade"
    """A cheaper model is asked; where none fits, the batch waits."""


class Origin(StrEnum):
    """Who set a budget."""

    COMMAND = "command"
    ENVIRONMENT = "environment"
    """AI_DAILY_BUDGET and its like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One budget.

    Attributes:
        id: Its row; 0 while it has none.
        name: Whose it is; "" for the global one.
        zone: The time zone whose days, weeks and months are meant, an IANA name.
        thresholds: Percentages of the limit, ascending, at which its owner is told.
        downgrade_percent: From which part of the limit on cheaper models are asked, with `OnLimit.DOWNGRADE`.
        allows_unpriced: Whether calls without a known price are made, and not counted.
    """

    id: int = 0
    scope: Scope
    name: str = ""
    period: Period
    zone: str = "UTC"
    limit_nanos: int
    thresholds: Sequence[int] = DEFAULT_THRESHOLDS
    on_limit: OnLimit = OnLimit.PAUSE
    downgrade_percent: int = 100
    allows_unpriced: bool = False
    origin: Origin = Origin.COMMAND

    @property
    def key(self) -> str:
        """By which calls are matched: see `keys_of`."""
        return key_of(self.scope, self.name)

    @property
    def title(self) -> str:
        """What people call it: `the daily budget of tenant acme`, `the global monthly budget`."""
        words = ["the", _ADJECTIVES.get(self.period, ""), "budget"]
        if self.scope is Scope.GLOBAL:
            words.insert(1, "global")
        else:
            words += ["of", self.scope.value, self.name]
        return " ".join(word for word in words if word)


_ADJECTIVES = {Period.DAY: "daily", Period.WEEK: "weekly", Period.MONTH: "monthly"}


def key_of(scope: Scope, name: str) -> str:
    """`tenant:acme`; `global:` for the global one."""
    return f"{scope}:{name}"


def keys_of(
    *, tenant: str, user: str, provider: str, model: str, request_type: str, batch: str
) -> tuple[str, ...]:
    """The keys of every budget that could cover a call of these facts.

    A user may be meant in all tenants or in one (`acme/alice`), a model at all providers or at one.

    Args:
        batch: Its public id.
    """
    keys = [
        key_of(Scope.GLOBAL, ""),
        key_of(Scope.TENANT, tenant),
        key_of(Scope.PROVIDER, provider),
        key_of(Scope.MODEL, model),
        key_of(Scope.MODEL, f"{provider}/{model}"),
        key_of(Scope.BATCH, batch),
    ]
    if user:
        keys += [key_of(Scope.USER, user), key_of(Scope.USER, f"{tenant}/{user}")]
    if request_type:
        keys.append(key_of(Scope.TYPE, request_type))
    return tuple(keys)
