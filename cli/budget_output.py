"""How budgets, and what a command did to them, are shown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from batchmill.budgets.model import Origin, Scope
from batchmill.budgets.standing import Standing
from batchmill.budgets.words import VARIABLES, turn_text
from batchmill.money.nanos import format_usd
from batchmill.providers.names import ProviderName
from batchmill.routing.names import PROVIDERS
from cli.alert_output import alert_as_row, tell_failures
from cli.output import narrate, print_json, print_table

if TYPE_CHECKING:
    from workers.budget_history import History


def show_all(found: Sequence[Standing], as_json: bool) -> None:
    """Print budgets as a table or as JSON."""
    from workers.budget_views import view

    if as_json:
        print_json([view(standing) for standing in found])
    else:
        print_table([_row(standing) for standing in found])


def show_one(found: "Sequence[History]", as_json: bool) -> None:
    """Print budgets with their past periods and alerts."""
    from workers.budget_history import view

    if as_json:
        print_json([view(one) for one in found])
        return
    print_table([_row(one.standing) for one in found])
    past = [_past_row(one.standing, row) for one in found for row in one.past]
    alerts = [alert_as_row(alert, deliveries) for one in found for alert, deliveries in one.alerts]
    for title, table in (("past periods", past), ("alerts", alerts)):
        if table:
            click.echo(f"\n{title}")
            print_table(table)
    tell_failures([delivery for one in found for _, deliveries in one.alerts for delivery in deliveries])


def tell_set(done: Sequence[Standing], as_json: bool) -> None:
    """Say what budgets are now, and which of them let no more calls through."""
    if as_json:
        show_all(done, as_json)
    for standing in done:
        balance = standing.balance
        limit, spent = format_usd(balance.limit_nanos), format_usd(balance.spent_nanos)
        narrate(f"{standing.budget.title} is {limit}, of which {spent} is spent")
        if standing.is_spent:
            turns = (
                f" until {turn_text(standing.end_ms, standing.budget.zone)}"
                if standing.end_ms is not None
                else ""
            )
            narrate(f"no new call that costs anything{turns}: already spent {spent} of {limit}")
        if standing.budget.scope is Scope.PROVIDER and standing.budget.name not in PROVIDERS:
            narrate(f"it covers no call: providers are {', '.join(ProviderName)}")


def tell_removed(removed: Sequence[Standing], as_json: bool) -> None:
    """Say which budgets are gone, and which will be back."""
    if as_json:
        show_all(removed, as_json)
    for standing in removed:
        budget = standing.budget
        narrate(f"removed {budget.title}")
        if budget.origin is Origin.ENVIRONMENT:
            variable = VARIABLES[budget.period]
            narrate(f"it comes back with the next command or worker that has {variable} set: unset that")


def tell_reset(before: Sequence[Standing], as_json: bool) -> None:
    """Say which budgets have begun anew, and what was spent of them."""
    if as_json:
        show_all(before, as_json)
    for standing in before:
        spent = format_usd(standing.balance.spent_nanos)
        narrate(f"{standing.budget.title} begins anew; it had {spent} spent")


def _row(standing: Standing) -> dict[str, object]:
    budget, balance = standing.budget, standing.balance
    used = standing.used_percent
    return {
        "scope": budget.scope,
        "name": budget.name or None,
        "period": budget.period,
        "limit": format_usd(balance.limit_nanos),
        "spent": format_usd(balance.spent_nanos),
        "unknown": format_usd(balance.unknown_nanos),
        "held": format_usd(balance.held_nanos),
        "left": format_usd(standing.left_nanos),
        "used": None if used is None else f"{used:.1f} %",
        "turns": _moment(standing, standing.end_ms),
        "on_limit": _on_limit(standing),
        "set_by": VARIABLES[budget.period] if budget.origin is Origin.ENVIRONMENT else budget.origin,
    }


def _on_limit(standing: Standing) -> str:
    budget = standing.budget
    early = f" at {budget.downgrade_percent} %" if budget.downgrade_percent < 100 else ""
    return f"{budget.on_limit}{early}{', unpriced allowed' if budget.allows_unpriced else ''}"


def _past_row(standing: Standing, row: Any) -> dict[str, object]:
    return {
        "period": standing.budget.period,
        "since": _moment(standing, row.start_ms or None),
        "until": _moment(standing, row.end_ms),
        "limit": format_usd(row.limit_nanos),
        "spent": format_usd(row.spent_nanos),
        "unknown": format_usd(row.unknown_nanos),
        "overrun": format_usd(row.overrun_nanos),
    }


def _moment(standing: Standing, at_ms: int | None) -> str | None:
    return None if at_ms is None else turn_text(at_ms, standing.budget.zone)
