"""Alerts of budgets: a part of one is used, or a call was dearer than what was held for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from batchmill.alerts.message import Message, Severity, Topic, in_one_line, utc_text
from batchmill.budgets.balance import Balance
from batchmill.budgets.model import Budget, OnLimit, Origin, Period, Scope
from batchmill.budgets.words import command, raising, turn_text
from batchmill.money.nanos import format_usd, usd_text

_CRITICAL_PERCENT, _EXCEEDED_PERCENT = 90, 100


class BudgetEvent(StrEnum):
    """What has happened to a budget."""

    THRESHOLD = "threshold"
    """So many percent of a budget are used."""
    OVERRUN = "overrun"
    """A call cost more than was held for it: the only way for a budget to be exceeded."""


def facts_of(
    budget: Budget, balance: Balance, detail: str, *, period_id: int, start_ms: int, end_ms: int | None
) -> dict[str, Any]:
    """What an alert has to know of its moment."""
    return {
        "period_id": period_id,
        "detail": detail,
        "spent_nanos": balance.spent_nanos,
        "limit_nanos": balance.limit_nanos,
        "start_ms": start_ms,
        "end_ms": end_ms,
        "budget": {
            "id": budget.id,
            "scope": budget.scope,
            "name": budget.name,
            "period": budget.period,
            "zone": budget.zone,
            "on_limit": budget.on_limit,
            "origin": budget.origin,
        },
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetAlert:
    """One thing that happened to one period of a budget; it happens once.

    Attributes:
        detail: Of a threshold the percentage; of an overrun the model.
        spent_nanos: What had been spent at that moment, of the `limit_nanos` then in force.
        end_ms: When the period turns; None = never.
    """

    id: int
    kind: BudgetEvent
    detail: str
    at_ms: int
    spent_nanos: int
    limit_nanos: int
    budget: Budget
    start_ms: int
    end_ms: int | None

    @classmethod
    def read(cls, id_: int, kind: str, at_ms: int, facts: Mapping[str, Any]) -> Self:
        """From how it is kept."""
        given = {name: facts[name] for name in ("detail", "spent_nanos", "limit_nanos", "start_ms", "end_ms")}
        budget = _budget(facts["budget"], facts["limit_nanos"])
        return cls(id=id_, kind=BudgetEvent(kind), at_ms=at_ms, budget=budget, **given)

    @property
    def severity(self) -> Severity:
        """How bad it is: from 90 % on critical, from 100 % on exceeded."""
        if self.kind is BudgetEvent.OVERRUN:
            return Severity.CRITICAL
        percent = int(self.detail)
        if percent >= _EXCEEDED_PERCENT:
            return Severity.EXCEEDED
        return Severity.CRITICAL if percent >= _CRITICAL_PERCENT else Severity.WARNING

    @property
    def verdict(self) -> str:
        """It in one line: `90 % of the daily budget of tenant acme used: $4.51 of $5.00`."""
        amounts = f"{format_usd(self.spent_nanos)} of {format_usd(self.limit_nanos)}"
        title = in_one_line(self.budget.title)
        if self.kind is BudgetEvent.OVERRUN:
            return f"a call of {in_one_line(self.detail)} cost more than was held for it on {title}: {amounts} used"
        if self.severity is Severity.EXCEEDED and self.spent_nanos < self.limit_nanos:
            return f"{title} is used up: {amounts}, and the next call may cost more than what is left"
        return f"{self.detail} % of {title} used: {amounts}"

    def told(self) -> Message:
        """As it goes through a channel."""
        return Message(
            id=f"budget-alert-{self.id}-{self.at_ms}",
            type=f"{Topic.BUDGET}.{self.kind}",
            at_ms=self.at_ms,
            severity=self.severity,
            verdict=self.verdict,
            text=_text(self),
            facts=_facts(self),
        )


def _facts(alert: BudgetAlert) -> dict[str, Any]:
    budget = alert.budget
    is_threshold = alert.kind is BudgetEvent.THRESHOLD
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


def _text(alert: BudgetAlert) -> str:
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
    lines += ["", *map(in_one_line, advice)]
    return "\n".join([f"{alert.verdict}.", "", *lines, ""])


_AT_THE_LIMIT = {
    OnLimit.PAUSE: "batches wait until it turns or is raised",
    OnLimit.REJECT: "lines that do not fit fail with budget_exceeded",
    OnLimit.DOWNGRADE: "a cheaper model is asked; where none fits, batches wait",
}


def _budget(row: Mapping[str, Any], limit_nanos: int) -> Budget:
    return Budget(
        id=row["id"],
        scope=Scope(row["scope"]),
        name=row["name"],
        period=Period(row["period"]),
        zone=row["zone"],
        limit_nanos=limit_nanos,
        on_limit=OnLimit(row["on_limit"]),
        origin=Origin(row["origin"]),
    )
