"""Budgets as people define them: what they mean is found out and checked, then written, and who waited goes on."""

from collections.abc import Mapping, Sequence
from typing import Any

from batchmill.budgets.balance import Balance
from batchmill.budgets.calendar import span_of
from batchmill.budgets.edits import Changes
from batchmill.budgets.model import Budget, Origin, Period, Scope
from batchmill.budgets.standing import Standing
from batchmill.budgets.words import name_of
from batchmill.clock import SystemClock
from batchmill.errors import MisuseError, NotFoundError, UnpricedError
from batchmill.money.prices import Pricer
from batchmill.money.rates import Unpriced
from batchmill.providers.names import ProviderName
from batchmill.requests.model import BatchOptions
from batchmill.settings import Settings
from db import batches, catalogue, sweep
from db.budgets import definitions
from db.budgets.opening import spent_so_far
from db.budgets.standings import standings
from db.engine import Database, Transaction
from workers.naming import batch_named
from workers.prices import file_prices, owner_prices


def define_environment_budgets(database: Database, settings: Settings) -> None:
    """Let the global budgets that variables set be in force; whoever is about to work or to look begins with this.

    One whose variable is gone stays, until it is removed.
    """
    limits, zone = settings.budgets.limits, settings.budgets.timezone
    if not limits:
        return
    with database.read() as tx:
        differs = definitions.environment_differs(tx, limits, zone)
    if differs:
        with database.write() as tx:
            definitions.set_by_environment(tx, limits, zone)


def undefined_budgets(tx: Transaction | None, settings: Settings) -> list[Standing]:
    """How the global budgets that variables set will stand once they are defined, for whoever must not write; none
    where that is done.

    Args:
        tx: None while there is no database.
    """
    limits, zone = settings.budgets.limits, settings.budgets.timezone
    if tx is not None and not definitions.environment_differs(tx, limits, zone):
        return []
    now_ms = SystemClock().now_ms() if tx is None else tx.now_ms
    found = []
    for period, limit in limits.items():
        budget = Budget(
            scope=Scope.GLOBAL, period=period, zone=zone, limit_nanos=limit, origin=Origin.ENVIRONMENT
        )
        start_ms, end_ms = span_of(period, zone, now_ms)
        spent = 0 if tx is None else spent_so_far(tx, budget, start_ms=start_ms, end_ms=end_ms)
        balance = Balance(limit_nanos=limit, spent_nanos=spent)
        found.append(Standing(budget=budget, start_ms=start_ms, end_ms=end_ms, balance=balance))
    return found


def meant(database: Database | None, scope: Scope, name: str) -> str:
    """The name under which a budget is kept: that of a batch is its whole id.

    Args:
        database: None where there is none yet.

    Raises:
        MisuseError: The name is missing, or there is one for the global budget.
        NotFoundError: There is no such batch.
    """
    if scope is Scope.GLOBAL:
        if name:
            raise MisuseError(f'the global budget has no name, and "{name}" is one', "leave it out")
        return ""
    if not name:
        raise MisuseError(
            f"whose budget it is is missing: which {scope}?", f"write its name after {scope}: {scope} NAME"
        )
    if scope is Scope.BATCH:
        public_id: str = batch_named(database, name).public_id
        return public_id
    return name


def set_budgets(
    database: Database,
    settings: Settings,
    scope: Scope,
    name: str,
    limits: Mapping[Period, int],
    changes: Changes,
) -> list[Standing]:
    """Set or change budgets; how they stand then.

    Args:
        name: As given; see `meant`.
        limits: In nano-dollars; none = those that are there are changed in all but their limits.

    Raises:
        MisuseError: Something is missing, or contradicts itself. Nothing is changed.
        NotFoundError: There is no such batch.
        UnpricedError: One is for a model without a known price, and does not allow that. Nothing is changed.
    """
    name = meant(database, scope, name)
    define_environment_budgets(database, settings)
    with database.write() as tx:
        if limits:
            zone = settings.budgets.timezone
            done = definitions.set_budgets(tx, scope, name, limits, changes, zone=zone)
        else:
            done = definitions.change_budgets(tx, scope, name, changes) if changes.named() else []
        if scope is Scope.MODEL and not all(standing.budget.allows_unpriced for standing in done):
            _require_price(tx, settings, name)
    if not done:
        raise MisuseError(
            f"how much may be spent on {name_of(scope, name)} is missing",
            "say how many US dollars: for a day, a week, a month, or in total (--day, --week, --month, --total)",
        )
    sweep.resume_affordable(database)
    return done


def grant_budget(tx: Transaction, batch: Any, options: BatchOptions) -> None:
    """Give a batch the budget that is asked for it, and what is to become of its lines at the limit; what is not asked
    stays as it is.

    Args:
        batch: Its row.
    """
    if options.on_budget is not None:
        batches.set_on_budget(tx, batch.id, options.on_budget)
    if options.budget_nanos is not None:
        limits = {Period.TOTAL: options.budget_nanos}
        definitions.set_budgets(tx, Scope.BATCH, batch.public_id, limits, Changes(on_limit=options.on_budget))


def remove_budgets(
    database: Database, settings: Settings, scope: Scope, name: str, periods: Sequence[Period]
) -> list[Standing]:
    """Remove the budgets of that name, of these periods only if any are named; how they stood.

    Raises:
        MisuseError: The name is missing, or there is one for the global budget.
        NotFoundError: There is no such budget.
    """
    name = meant(database, scope, name)
    define_environment_budgets(database, settings)
    with database.write() as tx:
        removed = chosen(tx, scope, name, periods)
        definitions.remove(tx, [standing.budget.id for standing in removed])
    sweep.resume_affordable(database)
    return removed


def reset_budgets(
    database: Database, settings: Settings, scope: Scope, name: str, periods: Sequence[Period]
) -> list[Standing]:
    """Let the budgets of that name begin anew with nothing spent; how they stood before.

    Raises:
        MisuseError: The name is missing, or there is one for the global budget.
        NotFoundError: There is no such budget.
    """
    name = meant(database, scope, name)
    define_environment_budgets(database, settings)
    with database.write() as tx:
        before = chosen(tx, scope, name, periods)
        definitions.reset(tx, [standing.budget.id for standing in before])
    sweep.resume_affordable(database)
    return before


def chosen(tx: Transaction, scope: Scope, name: str, periods: Sequence[Period]) -> list[Standing]:
    """The budgets of that name, of these periods only if any are named.

    Raises:
        NotFoundError: There is none, or not for each of these periods.
    """
    found = standings(tx, scope=scope, name=name, periods=periods)
    there = {standing.budget.period for standing in found}
    missing = [period for period in periods if period not in there]
    if missing or not found:
        which = f" for a {' or '.join(missing)}" if missing else ""
        raise NotFoundError(
            f"there is no budget of {name_of(scope, name)}{which}",
            "`batchmill budget list` shows those there are",
        )
    return found


def _require_price(tx: Transaction, settings: Settings, name: str) -> None:
    """Make sure that a price is known of the model, at the provider that is named with it or at any."""
    provider, _, model = name.partition("/")
    keys = [(each.value, name) for each in ProviderName] + ([(provider, model)] if model else [])
    keys += [entry.key for entry in catalogue.entries(tx) if entry.model == name]
    pricer = Pricer(owner_prices(tx, file_prices(settings)))
    if any(not isinstance(pricer.tariff(provider=key[0], model=key[1]), Unpriced) for key in keys):
        return
    raise UnpricedError(
        f'no price is known for the model "{name}", so no call of it could be held against a budget',
        "correct the name, give it a price with `batchmill providers add`,"
        " or say --allow-unpriced to let its calls pass uncounted",
    )
