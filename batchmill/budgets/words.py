"""What is said of budgets: which one, how far it is used, what would help."""

import shlex
from datetime import UTC, datetime, timedelta

from batchmill.budgets.balance import Balance
from batchmill.budgets.model import Budget, Origin, Period, Scope
from batchmill.money.nanos import format_usd
from batchmill.periods import zone_of

VARIABLES = {
    Period.DAY: "AI_DAILY_BUDGET",
    Period.WEEK: "AI_WEEKLY_BUDGET",
    Period.MONTH: "AI_MONTHLY_BUDGET",
}
"""By which a global budget is set from outside."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def exhausted(budget: Budget, balance: Balance, needs_nanos: int, *, end_ms: int | None) -> str:
    """Why a call does not fit, and what would help.

    Args:
        needs_nanos: The most that the call can cost.
        end_ms: When the period turns; None = never.
    """
    spent, limit = format_usd(balance.spent_nanos), format_usd(balance.limit_nanos)
    said = (
        f"{budget.title} has {spent} of {limit} spent, and the next call may cost {format_usd(needs_nanos)}"
    )
    turns = "" if end_ms is None else f"; it turns {turn_text(end_ms, budget.zone)}"
    return f"{said}{turns}; {raising(budget)}"


def unpriced(budget: Budget, model: str) -> str:
    """Why a call without a known price is not made, and what would help."""
    return (
        f"{budget.title} covers {model}, whose price is not known; set one with `batchmill providers add {model}`,"
        f" or let it pass with `{command(budget)} --allow-unpriced`"
    )


def turn_text(end_ms: int, zone: str) -> str:
    """A moment as its zone has it: `2026-11-21 00:00 Europe/Berlin`."""
    moment = (_EPOCH + timedelta(milliseconds=end_ms)).astimezone(zone_of(zone))
    return f"{moment:%Y-%m-%d %H:%M} {zone}"


def raising(budget: Budget) -> str:
    """How its limit is raised."""
    if budget.origin is Origin.ENVIRONMENT:
        return f"a higher {VARIABLES[budget.period]} raises it"
    return f"`{command(budget)} --{budget.period} USD` raises it"


def name_of(scope: Scope, name: str) -> str:
    """Whose budget: `tenant acme`, `all calls`."""
    return "all calls" if scope is Scope.GLOBAL else f"{scope} {name}"


def command(budget: Budget, verb: str = "set") -> str:
    """The command that sets (shows, removes) a budget, without what it is to be set to."""
    name = "" if budget.scope is Scope.GLOBAL else f" {shlex.quote(budget.name)}"
    return f"batchmill budget {verb} {budget.scope}{name}"
