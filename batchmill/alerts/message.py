"""What an alert says, to people and to programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from batchmill.budgets.model import Budget, OnLimit
from batchmill.budgets.words import command, raising, turn_text
from batchmill.money.nanos import format_usd, usd_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CRITICAL_PERCENT, _EXCEEDED_PERCENT = 90, 100


class AlertKind(StrEnum):
    """What an alert is about."""

    THRESHOLD = "threshold"
    """So many percent of a budget are used."""
    OVERRUN = "overrun"
    """A call cost more than was held for it: the only way for a budget to be exceeded."""


class Severity(StrEnum):
    """How bad it is."""

    WARNING = "warning"
    CRITICAL = "critical"
    EXCEEDED = "exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing that happened to one period of a budget; it happens once.

    Attributes:
        detail: Of a threshold the percentage; of an overrun the model.
        spent_nanos: What had been spent at that moment, of the `limit_nanos` then in force.
        end_ms: When the period turns; None = never.
    """

    id: int
    kind: AlertKind
    detail: str
    at_ms: int
    spent_nanos: int
    limit_nanos: int
    budget: Budget
    start_ms: int
    end_ms: int | None

    @property
    def severity(self) -> Severity:
        """How bad it is: from 90 % on critical, from 100 % on exceeded."""
        if self.kind is AlertKind.OVERRUN:
            return Severity.CRITICAL
        percent = int(self.detail)
        if percent >= _EXCEEDED_PERCENT:
            return Severity.EXCEEDED
        return Severity.CRITICAL if percent >= _CRITICAL_PERCENT else Severity.WARNING

    @property
    def verdict(self) -> str:
        """It in one line: `90 % of the daily budget of tenant acme used: $4.51 of $5.00`."""
        amounts = f"{format_usd(self.spent_nanos)} of {format_usd(self.limit_nanos)}"
        title = _in_one_line(self.budget.title)
        if self.kind is AlertKind.OVERRUN:
            return f"a call of {_in_one_line(self.detail)} cost more than was held for it on {title}: {amounts} used"
        if self.severity is Severity.EXCEEDED and self.spent_nanos < self.limit_nanos:
            return f"{title} is used up: {amounts}, and the next call may cost more than what is left"
        return f"{self.detail} % of {title} used: {amounts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What goes through a channel.

    Attributes:
        id: The same at every try, of letters, digits and `-`: receivers know by it what they have.
        type: For programs: `budget.threshold`.
        verdict: It in one line.
        text: All of it, for people, in lines.
        facts: All of it, for programs; amounts are decimal text in dollars, times ISO 8601 in UTC.
    """

    id: str
    type: str
    at_ms: int
    severity: Severity
    verdict: str
    text: str
    facts: Mapping[str, Any]


def message_of(alert: Alert) -> Message:
    """An alert as it is told."""
    return Message(
        id=f"budget-alert-{alert.id}-{alert.at_ms}",
        type=f"budget.{alert.kind}",
        at_ms=alert.at_ms,
        severity=alert.severity,
        verdict=alert.verdict,
        text=_text(alert),
        facts=_facts(alert),
    )


def trial_message(now_ms: int) -> Message:
    """What tries whether a channel works."""
    verdict = "this is a test: alerts of budgets arrive here"
    return Message(
        id=f"test-{now_ms}",
        type="budget.test",
        at_ms=now_ms,
        severity=Severity.WARNING,
        verdict=verdict,
        text=f"{verdict}.\n\nSent by `batchmill budget alerts --test`. Nothing has to be done.\n",
        facts={},
    )


def utc_text(at_ms: int) -> str:
    """A moment as programs read it: `2026-11-20T13:03:12Z`."""
    return f"{_EPOCH + timedelta(milliseconds=at_ms):%Y-%m-%dT%H:%M:%SZ}"


def _facts(alert: Alert) -> dict[str, Any]:
    budget = alert.budget
    is_threshold = alert.kind is AlertKind.THRESHOLD
    return {
        "scope": budget.scope.value,
        "name": budget.name or None,
        "period": budget.period.value,
        "timezone": budget.zone,
        "period_start": utc_text(alert.start_ms) if alert.start_ms else None,
        "period_end": None if alert.end_ms is None else utc_text(alert.end_ms),
        "threshold_percent": int(alert.detail) if is_threshold else None,
        "model": None if is_threshold else alert.detail,
        "spent_usd": usd_text(alert.spent_nanos),
        "limit_usd": usd_text(alert.limit_nanos),
    }


def _text(alert: Alert) -> str:
    budget = alert.budget
    percent = f" ({alert.spent_nanos / alert.limit_nanos:.1%})" if alert.limit_nanos else ""
    rows = {
        "when": turn_text(alert.at_ms, budget.zone),
        "used": f"{format_usd(alert.spent_nanos)} of {format_usd(alert.limit_nanos)}{percent}",
        "turns": "never" if alert.end_ms is None else turn_text(alert.end_ms, budget.zone),
        "at the limit": _AT_THE_LIMIT[budget.on_limit],
    }
    lines = [f"{name + ':':<14}{value}" for name, value in rows.items()]
    advice = (f"`{command(budget, 'show')}` shows it", raising(budget))
    lines += ["", *map(_in_one_line, advice)]
    return "\n".join([f"{alert.verdict}.", "", *lines, ""])


_AT_THE_LIMIT = {
    OnLimit.PAUSE: "batches wait until it turns or is raised",
    OnLimit.REJECT: "lines that do not fit fail with budget_exceeded",
    OnLimit.DOWNGRADE: "a cheaper model is asked; where none fits, batches wait",
}


def _in_one_line(text: str) -> str:
    """A name may hold anything; a subject or a log line may not."""
    return "".join(char if char.isprintable() else " " for char in text)
