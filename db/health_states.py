"""How the components of a mill are, by the checks so far; and the alerts that fire when that changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.alerts.health import event_of, facts_of
from batchmill.alerts.message import Topic
from batchmill.health.course import HealthLevel, HealthState, Observation, after, unheard_of
from db import alerts
from db.engine import Transaction
from db.tables import health_changes, health_states

KEPT = 200
"""Changes of a component that are kept, the newest."""

FORGET_AFTER_MS = 3 * 3_600_000
"""A component of another machine that nobody has checked for so long is gone with its machine."""

_s, _c = health_states.c, health_changes.c


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChange:
    """A check that has shown another level than the one before."""

    component: str
    at_ms: int
    level: HealthLevel
    message: str


def states(tx: Transaction) -> list[HealthState]:
    """Every component as it was last checked, by name."""
    return [_state(row) for row in tx.rows(select(health_states).order_by(_s.component))]


def changes(tx: Transaction, component: str | None = None, *, most: int) -> list[HealthChange]:
    """The newest changes, newest first; of all components or of one."""
    wanted = select(health_changes).order_by(_c.at_ms.desc(), _c.id.desc()).limit(most)
    if component is not None:
        wanted = wanted.where(_c.component == component)
    return [
        HealthChange(
            component=row.component, at_ms=row.at_ms, level=HealthLevel(row.level), message=row.message
        )
        for row in tx.rows(wanted)
    ]


def record(tx: Transaction, round_ms: int, seen: Sequence[Observation]) -> dict[str, HealthLevel]:
    """Note a round of checks, and let people be told of what has changed; by component what they are told.

    A round counts once for each component, also where two have made it at the same time, and none after a later one.
    """
    told: dict[str, HealthLevel] = {}
    for one in sorted(seen, key=lambda one: one.component):
        before = _locked(tx, one.component)
        if before.round_ms >= round_ms:
            continue
        now = after(before, one, round_ms=round_ms, now_ms=tx.now_ms)
        _write(tx, now)
        if now.level is not before.level:
            _note_change(tx, now)
        event = event_of(before, now)
        if event is not None:
            facts = facts_of(before, now)
            alerts.fire(tx, Topic.HEALTH, event, subject=now.component, occasion=str(round_ms), facts=facts)
            told[now.component] = now.told_level
    return told


def forget(tx: Transaction, checked: Sequence[str], *, of_other_machines: str) -> None:
    """Forget components that are none any more: a provider that is not set up, a machine that is gone.

    Args:
        checked: Those of this round.
        of_other_machines: How the names begin of those that others may check; they are forgotten by and by.
    """
    others = _s.component.startswith(of_other_machines, autoescape=True)
    is_gone = ~others | (_s.checked_ms <= tx.now_ms - FORGET_AFTER_MS)
    gone = select(_s.component).where(_s.component.not_in(checked), is_gone)
    names = [row.component for row in tx.rows(gone)]
    for table in (health_states, health_changes) if names else ():
        tx.run(delete(table).where(table.c.component.in_(names)))


def _locked(tx: Transaction, component: str) -> HealthState:
    """A component's state, which nobody else changes meanwhile."""
    dialect_insert = postgresql.insert if tx.dialect == "postgresql" else sqlite.insert
    new = dialect_insert(health_states).values(_values(unheard_of(component, tx.now_ms)))
    tx.run(new.on_conflict_do_nothing(index_elements=["component"]))
    return _state(tx.rows(select(health_states).where(_s.component == component).with_for_update())[0])


def _write(tx: Transaction, state: HealthState) -> None:
    tx.run(update(health_states).where(_s.component == state.component).values(_values(state)))


def _note_change(tx: Transaction, state: HealthState) -> None:
    noted = {"component": state.component, "level": state.level.value}
    tx.run(insert(health_changes).values(**noted, message=state.message, at_ms=tx.now_ms))
    ours = _c.component == state.component
    oldest = select(_c.id).where(ours).order_by(_c.id.desc()).offset(KEPT).limit(1)
    tx.run(delete(health_changes).where(ours, _c.id <= oldest.scalar_subquery()))


def _values(state: HealthState) -> dict[str, Any]:
    return {
        "component": state.component,
        "level": state.level.value,
        "since_ms": state.since_ms,
        "message": state.message,
        "hint": state.hint,
        "took_ms": state.took_ms,
        "checked_ms": state.checked_ms,
        "round_ms": state.round_ms,
        "told_level": state.told_level.value,
        "ill_since_ms": state.ill_since_ms,
    }


def _state(row: Row[Any]) -> HealthState:
    return HealthState(
        component=row.component,
        level=HealthLevel(row.level),
        since_ms=row.since_ms,
        message=row.message,
        hint=row.hint,
        took_ms=row.took_ms,
        checked_ms=row.checked_ms,
        round_ms=row.round_ms,
        told_level=HealthLevel(row.told_level),
        ill_since_ms=row.ill_since_ms,
    )
