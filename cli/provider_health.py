"""`batchmill providers health`: whether the providers are there and know our keys, and which models rest."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchmill.providers.names import ProviderName
from batchmill.routing.resting import Resting
from batchmill.settings import Settings
from cli.home import home_option, settings_at
from cli.output import json_option, print_json, print_table
from cli.provider_names import Provider

if TYPE_CHECKING:
    from workers.provider_views import ProviderStanding


@click.command()
@click.argument("names", metavar="[NAME]...", type=Provider(), nargs=-1)
@click.option("--stored", is_flag=True, help="Ask nobody; show what the last checks have found.")
@home_option
@json_option
def health(names: tuple[ProviderName, ...], stored: bool, home: Path | None, as_json: bool) -> int:
    """Ask every provider that has a key for what costs nothing, and show how it is and since when.

    Each of several keys is tried. What is found is kept. Below are the models that the workers leave alone,
    as they did not answer, if there are any. Exit status 1 if a provider fails, or one that is named is not set
    up.
    """
    from workers.provider_views import State, standing_view

    settings = settings_at(home)
    wanted = tuple(dict.fromkeys(names)) or tuple(ProviderName)
    found = _stored(settings, wanted) if stored else _checked(settings, wanted)
    views = [standing_view(standing) for standing in found]
    if as_json:
        print_json(views)
    else:
        print_table([_as_row(view) for view in views])
        resting = [one for standing in found for one in standing.resting]
        if resting:
            click.echo()
            print_table([_circuit_as_row(one) for one in resting])
    states = {standing.account.name: standing.state for standing in found}
    bad = {name for name in wanted if states[name] is State.FAILING}
    bad |= {name for name in names if states[name] is State.NOT_SET_UP}
    return 1 if bad else 0


def _checked(settings: Settings, wanted: tuple[ProviderName, ...]) -> "list[ProviderStanding]":
    from batchmill.logs import configure_logs
    from workers.assembly import prepared_database
    from workers.provider_health import check_providers
    from workers.provider_views import provider_standings

    configure_logs(settings.log)
    database = prepared_database(settings)
    try:
        check_providers(settings, database, frozenset(wanted))
        return provider_standings(database, settings, wanted)
    finally:
        database.close()


def _stored(settings: Settings, wanted: tuple[ProviderName, ...]) -> "list[ProviderStanding]":
    from workers.assembly import existing_database
    from workers.provider_views import provider_standings

    database = existing_database(settings)
    try:
        return provider_standings(database, settings, wanted)
    finally:
        database.close()


def _as_row(view: Mapping[str, object]) -> Mapping[str, object]:
    """The same as a row of a table."""
    missing = view["missing"]
    what = "no key" if view["address"] else "no address"
    error = ": ".join(str(part) for part in (view["error_code"], view["error_message"]) if part)
    return {
        "provider": view["provider"],
        "address": view["address"],
        "state": f"{what}: set {missing}" if missing else str(view["state"]).replace("_", " "),
        "since": view["since"],
        "checked": view["checked_at"],
        "latency_ms": view["latency_ms"],
        "last_ok": view["last_ok_at"],
        "error": error or None,
    }


def _circuit_as_row(one: Resting) -> Mapping[str, object]:
    from workers.views import time_text

    return {
        "resting": one.target.name,
        "circuit": "due" if one.is_due else str(one.state).replace("_", "-"),
        "cause": one.cause,
        "since": time_text(one.since_ms),
        "until": time_text(one.until_ms),
        "times": one.times,
        "reason": one.reason or None,
    }
