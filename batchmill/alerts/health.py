"""Alerts of the mill's health: a component is worse than people know, or better."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from batchmill.alerts.message import Message, Severity, Topic, in_one_line, utc_text
from batchmill.health.course import HealthLevel, HealthState


class HealthEvent(StrEnum):
    """What has become of a component."""

    DEGRADED = "degraded"
    FAILING = "failing"
    RECOVERED = "recovered"


_EVENTS = {
    HealthLevel.OK: HealthEvent.RECOVERED,
    HealthLevel.DEGRADED: HealthEvent.DEGRADED,
    HealthLevel.FAILING: HealthEvent.FAILING,
}
_SEVERITIES = {
    HealthEvent.RECOVERED: Severity.INFO,
    HealthEvent.DEGRADED: Severity.WARNING,
    HealthEvent.FAILING: Severity.CRITICAL,
}


def event_of(before: HealthState, now: HealthState) -> HealthEvent | None:
    """What people are to be told of a check; None = nothing."""
    return None if now.told_level is before.told_level else _EVENTS[now.told_level]


def facts_of(before: HealthState, now: HealthState) -> dict[str, Any]:
    """What an alert has to know of its moment."""
    return {
        "previous_level": before.told_level.value,
        "since_ms": before.ill_since_ms if now.ill_since_ms is None else now.ill_since_ms,
        "message": now.message,
        "hint": now.hint,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthAlert:
    """One change of one component.

    Attributes:
        previous_level: What had been told before.
        since_ms: When checks began to show that it was not well.
        message: What the check has shown, as is `hint`.
    """

    id: int
    kind: HealthEvent
    at_ms: int
    component: str
    previous_level: HealthLevel
    since_ms: int
    message: str
    hint: str

    @classmethod
    def read(cls, id_: int, kind: str, at_ms: int, component: str, facts: Mapping[str, Any]) -> Self:
        """From how it is kept."""
        level = HealthLevel(facts["previous_level"])
        given = {name: facts[name] for name in ("since_ms", "message", "hint")}
        return cls(
            id=id_, kind=HealthEvent(kind), at_ms=at_ms, component=component, previous_level=level, **given
        )

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return _SEVERITIES[self.kind]

    @property
    def verdict(self) -> str:
        """It in one line: `provider openai is failing: it cannot be reached`."""
        title = in_one_line(self.component.replace(":", " ", 1))
        if self.kind is HealthEvent.RECOVERED:
            return f"{title} is well again after {_lasted(self.at_ms - self.since_ms)}"
        return f"{title} is {self.kind}: {in_one_line(self.message)}"

    def told(self) -> Message:
        """As it goes through a channel."""
        return Message(
            id=f"health-alert-{self.id}-{self.at_ms}",
            type=f"{Topic.HEALTH}.{self.kind}",
            at_ms=self.at_ms,
            severity=self.severity,
            verdict=self.verdict,
            text=self._text(),
            facts=self._facts(),
        )

    def _facts(self) -> dict[str, Any]:
        is_over = self.kind is HealthEvent.RECOVERED
        return {
            "component": self.component,
            "previous_level": self.previous_level.value,
            "ill_since": utc_text(self.since_ms),
            "lasted_s": (self.at_ms - self.since_ms) // 1000 if is_over else None,
            "message": self.message,
            "hint": self.hint or None,
        }

    def _text(self) -> str:
        rows = {
            "when": utc_text(self.at_ms),
            "was": f"{self.previous_level}, not well since {utc_text(self.since_ms)}",
            "now": in_one_line(self.message),
        }
        lines = [f"{name + ':':<6}{value}" for name, value in rows.items()]
        advice = [in_one_line(self.hint)] if self.hint else []
        advice.append("`batchmill health` shows everything as last checked")
        return "\n".join([f"{self.verdict}.", "", *lines, "", *advice, ""])


def _lasted(ms: int) -> str:
    """`45 s`, `25 min`, `3 h 10 min`."""
    minutes = ms // 60_000
    if minutes < 2:
        return f"{ms // 1000} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
