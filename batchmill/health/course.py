"""The course of a component: what checks have shown of it, and what of that people are told.

**It is told to be as bad as the last two checks in a row have shown at least.** So a single bad check tells nothing:
a look at a provider that meets a restart, or a queue in the second before a worker comes, is no news at three in the
morning; what is still so at the next check is. A single good check tells that it is better: nobody is to go on looking
for a fault that is gone. What comes and goes with every other check is therefore never told; it is in the history.
"""

from dataclasses import dataclass
from enum import StrEnum


class HealthLevel(StrEnum):
    """How a component is."""

    OK = "ok"
    DEGRADED = "degraded"
    """It works, and somebody should look at it before it does not."""
    FAILING = "failing"
    """It does not do its work."""

    @property
    def rank(self) -> int:
        """The higher the worse."""
        return _RANKS[self]


_RANKS = {HealthLevel.OK: 0, HealthLevel.DEGRADED: 1, HealthLevel.FAILING: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one check has shown of a component.

    Attributes:
        component: `database`, `provider:openai`, `queue:high`, `disk:a-host`.
        message: What is so, in a sentence; nothing secret.
        hint: What to do about it; "" where nothing is to be done.
        took_ms: How long the check took.
    """

    component: str
    level: HealthLevel
    message: str
    hint: str = ""
    took_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthState:
    """How a component is, by the checks so far.

    Attributes:
        level: As the last check has shown it; so have all since `since_ms`.
        message: That of the last check, as is `hint`.
        round_ms: The round of checks that was last noted.
        told_level: What people have been told of it.
        ill_since_ms: The first of the checks up to the last that did not show ok; None = the last did.
    """

    component: str
    level: HealthLevel
    since_ms: int
    message: str
    hint: str
    took_ms: int
    checked_ms: int
    round_ms: int
    told_level: HealthLevel
    ill_since_ms: int | None


def unheard_of(component: str, now_ms: int) -> HealthState:
    """The state of a component before its first check: nothing speaks against it."""
    return HealthState(
        component=component,
        level=HealthLevel.OK,
        since_ms=now_ms,
        message="",
        hint="",
        took_ms=0,
        checked_ms=now_ms,
        round_ms=0,
        told_level=HealthLevel.OK,
        ill_since_ms=None,
    )


def after(before: HealthState, seen: Observation, *, round_ms: int, now_ms: int) -> HealthState:
    """The state of a component after one more check."""
    is_ok = seen.level is HealthLevel.OK
    ill_since_ms = now_ms if before.ill_since_ms is None else before.ill_since_ms
    return HealthState(
        component=before.component,
        level=seen.level,
        since_ms=before.since_ms if seen.level is before.level else now_ms,
        message=seen.message,
        hint=seen.hint,
        took_ms=seen.took_ms,
        checked_ms=now_ms,
        round_ms=round_ms,
        told_level=min(before.level, seen.level, key=lambda level: level.rank),
        ill_since_ms=None if is_ok else ill_since_ms,
    )
