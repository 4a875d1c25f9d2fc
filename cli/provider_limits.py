"""`batchmill providers limit`: how much may go out to a provider, or to one of its models."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from batchmill.errors import MisuseError, NotFoundError
from batchmill.limits.owner import LIMIT_NAMES, OwnerLimits
from batchmill.providers.names import ProviderName
from batchmill.settings import Settings
from cli.home import home_option, settings_at
from cli.output import json_option, narrate, print_json, print_table
from cli.provider_names import Provider
from cli.text import Name

MOST = 1_000_000_000_000

_MEANINGS = {
    "rpm": "Requests a minute.",
    "tpm": "Tokens a minute, input and output together.",
    "input_tpm": "Input tokens a minute.",
    "output_tpm": "Output tokens a minute.",
    "concurrency": "Calls in flight.",
}


def _limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name in reversed(LIMIT_NAMES):
        option = click.option(
            f"--{name.replace('_', '-')}",
            name,
            type=click.IntRange(1, MOST),
            metavar="N",
            help=_MEANINGS[name],
        )
        command = option(command)
    return command


@click.command()
@click.argument("provider", metavar="[NAME]", type=Provider(), required=False)
@click.option("--model", type=Name(), metavar="MODEL", help="Of this model only, besides the provider's own.")
@_limit_options
@click.option("--remove", is_flag=True, help="Take away what is set there.")
@home_option
@json_option
def limit(
    provider: ProviderName | None,
    model: str | None,
    remove: bool,
    home: Path | None,
    as_json: bool,
    **given: int | None,
) -> None:
    """Limit what goes out to a provider, or to one of its models; without an option show what is set.

    Set what your account there allows. What is not named stays as it is. Limits of a model count besides those of
    its provider. They are kept in the database, for all workers together.
    """
    if (model is not None or remove or any(given.values())) and provider is None:
        raise MisuseError("limits are a provider's", f"name one of {', '.join(ProviderName)}")
    if remove and any(given.values()):
        raise MisuseError("--remove takes away what is set", "leave it out, or the limits beside it")
    if model == "":
        raise MisuseError("--model is empty", "leave it out for the limits of the whole provider")
    settings = settings_at(home)
    if remove:
        assert provider is not None
        _remove(settings, provider, model or "", as_json)
    elif any(given.values()):
        assert provider is not None
        _set(settings, OwnerLimits(provider=provider.value, model=model or "", **given), as_json)
    else:
        _show(settings, provider, model, as_json)


def _show(settings: Settings, provider: ProviderName | None, model: str | None, as_json: bool) -> None:
    from db import limits
    from workers.assembly import existing_database

    database = existing_database(settings)
    try:
        with database.read() as tx:
            found = limits.entries(tx, provider=provider.value if provider else None, model=model)
    finally:
        database.close()
    _print(found, as_json)
    if not found:
        narrate("no limits are set" if provider is None else "no such limits are set")


def _set(settings: Settings, wanted: OwnerLimits, as_json: bool) -> None:
    from db import catalogue, limits
    from workers.assembly import prepared_database

    database = prepared_database(settings)
    try:
        with database.write() as tx:
            limits.merge(tx, wanted)
            found = limits.entries(tx, provider=wanted.provider, model=wanted.model)
            is_known = not wanted.model or catalogue.find(tx, wanted.provider, wanted.model) is not None
    finally:
        database.close()
    if as_json:
        _print(found, as_json)
    for limits_now in found:
        narrate(f"limits of {limits_now.name}: {_in_words(limits_now)}")
    if not is_known:
        narrate(f"the catalogue has no {wanted.name}; its limits count all the same")


def _remove(settings: Settings, provider: ProviderName, model: str, as_json: bool) -> None:
    from db import limits
    from workers.assembly import prepared_database

    name = OwnerLimits(provider=provider.value, model=model).name
    database = prepared_database(settings)
    try:
        with database.write() as tx:
            before = limits.entries(tx, provider=provider.value, model=model)
            if not limits.remove(tx, provider.value, model):
                raise NotFoundError(
                    f"no limits of {name} are set", "`batchmill providers limit` shows those that are"
                )
    finally:
        database.close()
    if as_json:
        _print(before, as_json)
    narrate(f"removed the limits of {name}")


def _print(found: Sequence[OwnerLimits], as_json: bool) -> None:
    from workers.provider_views import limits_view

    if as_json:
        print_json([limits_view(one) for one in found])
    else:
        print_table([limits_view(one) | {"model": one.model or None} for one in found])


def _in_words(one: OwnerLimits) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in one.given.items())
