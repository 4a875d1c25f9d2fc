"""`batchmill budget`: how much may be spent on what, and how it is used."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchmill.budgets.model import OnLimit, Scope
from batchmill.settings import Settings
from cli.budget_options import (
    Thresholds,
    limits_of,
    names_budget,
    on_limit_choice,
    periods_of,
    takes_limits,
    takes_periods,
)
from cli.budget_output import show_all, show_one, tell_removed, tell_reset, tell_set
from cli.home import home_option, settings_at
from cli.lazy import LazyCommand, LazyGroup
from cli.output import json_option, narrate
from cli.text import Text

if TYPE_CHECKING:
    from db.engine import Database

ELSEWHERE = {
    "audit": LazyCommand(module="cli.budget_audit", help="Prove that budgets and ledger say the same."),
    "reconcile": LazyCommand(
        module="cli.budget_reconcile", help="Settle calls of which nobody knows what they cost."
    ),
    "alerts": LazyCommand(
        module="cli.budget_alerts", help="Show what owners were told, and whether it reached them."
    ),
}
"""Commands of this group that have files of their own."""


@click.group(cls=LazyGroup, lazy_commands=ELSEWHERE)
def budget() -> None:
    """How much may be spent on what, and how it is used.

    SCOPE is global (all calls), tenant, user (NAME or TENANT/NAME), provider, model (MODEL or PROVIDER/MODEL),
    type (of request), or batch; all but global have a NAME. A call is made only while it fits into every budget
    that covers it, at the most that it can cost.
    """


@budget.command("set")
@names_budget
@takes_limits
@click.option(
    "--on-limit",
    type=on_limit_choice,
    help="At the limit: batches wait (pause), their lines fail (reject), or cheaper models are asked (downgrade)."
    "  [default: pause]",
)
@click.option(
    "--downgrade-at",
    "downgrade_percent",
    type=click.IntRange(1, 100),
    metavar="PERCENT",
    help="Ask cheaper models from this part of the limit on.  [default: 100]",
)
@click.option(
    "--thresholds",
    type=Thresholds(),
    help="At which percentages of the limit you are told.  [default: 75,90,100]",
)
@click.option(
    "--allow-unpriced/--refuse-unpriced",
    "allows_unpriced",
    default=None,
    help="Whether calls without a known price are made, and not counted.  [default: refused]",
)
@click.option(
    "--timezone",
    type=Text(),
    metavar="ZONE",
    help="Whose days, weeks and months count: Europe/Berlin.  [default: BATCHMILL_TIMEZONE, UTC]",
)
@home_option
@json_option
def set_(
    scope: Scope,
    name: str,
    on_limit: str | None,
    downgrade_percent: int | None,
    thresholds: tuple[int, ...] | None,
    allows_unpriced: bool | None,
    timezone: str | None,
    home: Path | None,
    as_json: bool,
    **amounts: int | None,
) -> None:
    """Set how much may be spent, or change a budget that is there.

    What is not named stays as it is, and what has been spent stays spent. A new budget counts what was spent in
    its day, week or month before it was made. Several periods at once are several budgets; all of them hold.
    Without an amount the other options change the budgets that are there.
    """
    from batchmill.budgets.edits import Changes
    from batchmill.periods import zone_of
    from workers.budgets import set_budgets

    if timezone is not None:
        zone_of(timezone)
    changes = Changes(
        zone=timezone,
        thresholds=thresholds,
        on_limit=OnLimit(on_limit) if on_limit else None,
        downgrade_percent=downgrade_percent,
        allows_unpriced=allows_unpriced,
    )
    settings = settings_at(home)
    with _opened(settings, makes_home=True) as database:
        done = set_budgets(database, settings, scope, name, limits_of(amounts), changes)
    tell_set(done, as_json)


@budget.command("list")
@click.option("--all", "ended_too", is_flag=True, help="Also those of batches that have ended.")
@home_option
@json_option
def list_(ended_too: bool, home: Path | None, as_json: bool) -> None:
    """Show the budgets, and how far each is used in its current period.

    HELD is what calls in flight may cost at most; UNKNOWN the part of SPENT that may not have been billed.
    """
    from db.budgets.standings import standings

    with _opened(settings_at(home)) as database, database.read() as tx:
        found = standings(tx, ended_too=ended_too)
    show_all(found, as_json)
    if not found:
        narrate("there is no budget; `batchmill budget set` makes one")


@budget.command()
@names_budget
@home_option
@json_option
def show(scope: Scope, name: str, home: Path | None, as_json: bool) -> None:
    """Show the budgets of one name, with past periods and alerts."""
    from workers.budget_history import histories

    with _opened(settings_at(home)) as database:
        found = histories(database, scope, name)
    show_one(found, as_json)


@budget.command()
@names_budget
@takes_periods
@home_option
@json_option
def remove(scope: Scope, name: str, home: Path | None, as_json: bool, **named: bool) -> None:
    """Remove budgets: nothing is held against them any more.

    All of that name, or only that of a day, week, month, or for ever. What was spent stays in the ledger.
    """
    from workers.budgets import remove_budgets

    settings = settings_at(home)
    with _opened(settings) as database:
        tell_removed(remove_budgets(database, settings, scope, name, periods_of(named)), as_json)


@budget.command()
@names_budget
@takes_periods
@home_option
@json_option
def reset(scope: Scope, name: str, home: Path | None, as_json: bool, **named: bool) -> None:
    """Begin anew with nothing spent, until the period turns as it would have.

    All budgets of that name, or only that of a day, week, month, or for ever. Calls in flight count where they
    began. The ledger does not change.
    """
    from workers.budgets import reset_budgets

    settings = settings_at(home)
    with _opened(settings) as database:
        tell_reset(reset_budgets(database, settings, scope, name, periods_of(named)), as_json)


@contextmanager
def _opened(settings: Settings, *, makes_home: bool = False) -> "Iterator[Database]":
    """The database, with the budgets in force that variables set; a home is made only to set one."""
    from workers.assembly import existing_database, prepared_database
    from workers.budgets import define_environment_budgets

    database = prepared_database(settings) if makes_home else existing_database(settings)
    try:
        define_environment_budgets(database, settings)
        yield database
    finally:
        database.close()
