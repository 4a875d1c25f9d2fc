"""`batchmill providers health`: whether the providers are there and know our keys, and which models rest."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchmill.providers.health import Health
from batchmill.providers.names import ProviderName
from batchmill.routing.resting import Resting
from batchmill.settings import Settings
from batchmill.settings.providers import ProviderSettings
from batchmill.settings.values import mask_url
from cli.home import home_option, settings_at
from cli.output import json_option, print_json, print_table
from cli.provider_names import Provider

if TYPE_CHECKING:
    from db.engine import Database


class State(StrEnum):
    """How a provider is, in a word."""

    OK = "ok"
    FAILING = "failing"
    NOT_CHECKED = "not_checked"
    NOT_SET_UP = "not_set_up"


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
    settings = settings_at(home)
    wanted = tuple(dict.fromkeys(names)) or tuple(ProviderName)
    found, resting = _stored(settings, wanted) if stored else _checked(settings, wanted)
    states = {name: _state(settings.providers[name], found.get(name)) for name in wanted}
    views = [_as_json(settings.providers[name], states[name], found.get(name)) for name in wanted]
    resting = [one for one in resting if one.target.provider in wanted]
    if as_json:
        print_json([view | {"circuits": _circuits_of(view["provider"], resting)} for view in views])
    else:
        print_table([_as_row(view) for view in views])
        if resting:
            click.echo()
            print_table([_circuit_as_row(one) for one in resting])
    bad = {name for name in wanted if states[name] is State.FAILING}
    bad |= {name for name in names if states[name] is State.NOT_SET_UP}
    return 1 if bad else 0


Found = tuple[dict[str, Health], Sequence[Resting]]


def _checked(settings: Settings, wanted: tuple[ProviderName, ...]) -> Found:
    from batchmill.logs import configure_logs
    from workers.assembly import prepared_database
    from workers.provider_health import check_providers

    configure_logs(settings.log)
    database = prepared_database(settings)
    try:
        check_providers(settings, database, frozenset(wanted))
        return _read(database, settings, wanted)
    finally:
        database.close()


def _stored(settings: Settings, wanted: tuple[ProviderName, ...]) -> Found:
    from workers.assembly import existing_database

    database = existing_database(settings)
    try:
        return _read(database, settings, wanted)
    finally:
        database.close()


def _read(database: "Database", settings: Settings, wanted: tuple[ProviderName, ...]) -> Found:
    from batchmill.routing.resting import not_closed
    from db import circuits, provider_checks

    accounts = {name.value: settings.providers[name] for name in wanted}
    with database.read() as tx:
        found = provider_checks.health(
            tx, {name: account.upstream for name, account in accounts.items() if account.is_usable}
        )
        return found, not_closed(circuits.read(tx), tx.now_ms)


def _state(account: ProviderSettings, health: Health | None) -> State:
    if not account.is_usable:
        return State.NOT_SET_UP
    if health is None:
        return State.NOT_CHECKED
    return State.OK if health.last.is_ok else State.FAILING


def _as_json(account: ProviderSettings, state: State, health: Health | None) -> dict[str, object]:
    """How a provider is, for other programs."""
    from workers.views import time_text

    return {
        "provider": account.name.value,
        "address": mask_url(account.upstream) or None,
        "state": state.value,
        "missing": account.missing or None,
        "since": health and time_text(health.since_ms),
        "checked_at": health and time_text(health.at_ms),
        "latency_ms": health and health.last.latency_ms,
        "error_code": (health and health.last.error_code) or None,
        "error_message": (health and health.last.error_message) or None,
        "last_ok_at": health and time_text(health.last_ok_ms),
    }


def _circuits_of(provider: object, resting: Sequence[Resting]) -> list[dict[str, object]]:
    from workers.views import circuit_view

    return [circuit_view(one) for one in resting if one.target.provider == provider]


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
