"""How the mill stands: every component as last checked, or as a look shows it now; and what has changed of late."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from batchmill.clock import SystemClock
from batchmill.errors import DatabaseError
from batchmill.health.course import HealthLevel, HealthState, after, unheard_of
from batchmill.periods import zone_of
from batchmill.settings import Settings
from batchmill.settings.schedules import JobName
from db import health_states
from db.engine import Database
from db.health_states import HealthChange
from workers.health.look import look
from workers.views import time_text

MOST_CHANGES = 20
GRACE_MS = 60_000
"""So much later than the time after next may a check come before it counts as missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the mill is.

    Attributes:
        components: The worst first.
        changes: The newest first.
        is_overdue: Nobody checks it any more, or nobody has yet.
    """

    components: Sequence[HealthState]
    changes: Sequence[HealthChange] = ()
    is_overdue: bool = False

    @property
    def is_well(self) -> bool:
        """Whether nothing is failing, as far as is known."""
        return not self.is_overdue and all(one.level is not HealthLevel.FAILING for one in self.components)


def last_checked(settings: Settings, database: Database) -> Standing:
    """As the last checks have shown it."""
    with database.read() as tx:
        components = _worst_first(health_states.states(tx))
        changes = health_states.changes(tx, most=MOST_CHANGES)
    is_overdue = _is_overdue(settings, components, database.now_ms())
    return Standing(components=components, changes=changes, is_overdue=is_overdue)


def seen_now(settings: Settings, database: Database) -> Standing:
    """As a look shows it now; nothing is noted, and nobody is told: whoever looks may have other settings than those
    who work."""
    seen = look(settings, database)
    try:
        with database.read() as tx:
            known, now_ms = {state.component: state for state in health_states.states(tx)}, tx.now_ms
    except DatabaseError:  # which is what the look has found
        known, now_ms = {}, SystemClock().now_ms()
    before = {one.component: known.get(one.component, unheard_of(one.component, now_ms)) for one in seen}
    states = [
        replace(
            after(before[one.component], one, round_ms=now_ms, now_ms=now_ms),
            told_level=before[one.component].told_level,
        )
        for one in seen
    ]
    return Standing(components=_worst_first(states))


def _worst_first(states: Sequence[HealthState]) -> list[HealthState]:
    return sorted(states, key=lambda state: (-state.level.rank, state.component))


def _is_overdue(settings: Settings, states: Sequence[HealthState], now_ms: int) -> bool:
    times, zone = settings.schedules.of(JobName.HEALTH), zone_of(settings.budgets.timezone)
    last_ms = max((state.checked_ms for state in states), default=None)
    if last_ms is None:
        return True
    next_ms = times.next_due(last_ms, zone)
    after_next_ms = None if next_ms is None else times.next_due(next_ms, zone)
    return after_next_ms is not None and now_ms > after_next_ms + GRACE_MS


def standing_view(standing: Standing) -> dict[str, Any]:
    """How the mill is, as JSON shows it."""
    return {
        "well": standing.is_well,
        "overdue": standing.is_overdue,
        "components": [state_view(state) for state in standing.components],
        "changes": [change_view(change) for change in standing.changes],
    }


def state_view(state: HealthState) -> dict[str, Any]:
    """A component."""
    return {
        "component": state.component,
        "level": state.level.value,
        "since": time_text(state.since_ms),
        "ill_since": time_text(state.ill_since_ms),
        "checked_at": time_text(state.checked_ms),
        "took_ms": state.took_ms,
        "message": state.message,
        "hint": state.hint or None,
        "told_level": state.told_level.value,
    }


def change_view(change: HealthChange) -> dict[str, Any]:
    """A change of one."""
    return {
        "component": change.component,
        "at": time_text(change.at_ms),
        "level": change.level.value,
        "message": change.message,
    }
