"""`batchmill providers`: the catalogue of models, their prices and tiers; the others are in files beside."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.catalogue.prices import PRICE_FIELDS
from batchmill.errors import MisuseError
from batchmill.settings import Settings
from cli.catalogue_options import Name, entry_options, tier_choice
from cli.catalogue_output import show, tell, tell_bare_tier, tell_setup, tell_unknown_price
from cli.home import home_option, settings_at
from cli.lazy import LazyCommand, LazyGroup
from cli.output import json_option, narrate, print_json
from cli.text import Text

ELSEWHERE = {
    "limit": LazyCommand(module="cli.provider_limits", help="Limit what goes out to a provider or model."),
    "explain": LazyCommand(
        module="cli.provider_explain", help="Show who would answer a request and why, or who has."
    ),
    "health": LazyCommand(
        module="cli.provider_health", help="Show which providers are there and know your key."
    ),
}
"""Commands of this group that have files of their own."""


@click.group(cls=LazyGroup, lazy_commands=ELSEWHERE)
def providers() -> None:
    """Providers and the catalogue: models, their prices and tiers; limits; health.

    A price set here goes before the public list's, and the file BATCHMILL_PRICES before both. Tiers, quality,
    latency, limits, capabilities and defaults are what the model of a request for `auto` is chosen by.
    """


@providers.command("list")
@click.option("--provider", type=Text(), metavar="NAME", help="Of this provider only.")
@click.option("--tier", type=tier_choice, help="Of this tier only.")
@click.option("--active", is_flag=True, help="Without those disabled.")
@home_option
@json_option
def list_(provider: str | None, tier: str | None, active: bool, home: Path | None, as_json: bool) -> None:
    """Show the models, and the prices that count.

    Prices are US dollars per million tokens, and per request. PRICE says whose: file (BATCHMILL_PRICES), own
    (set here), list (the public one; "to N in": more input tokens are dearer), unknown.
    """
    from db import catalogue
    from workers.catalogue import shown

    settings = settings_at(home)
    with _catalogue(settings) as tx:
        entries = catalogue.entries(
            tx, provider=provider, tier=Tier(tier) if tier else None, active_only=active
        )
        is_empty = not entries and not catalogue.entries(tx)
        models = shown(tx, settings, entries)
    show(models, as_json)
    if is_empty:
        narrate("the catalogue is empty; `batchmill providers setup` fills it")
    elif not entries:
        narrate("no model of the catalogue is like that")


@providers.command()
@click.option("--provider", "wanted", metavar="NAME", multiple=True, help="Of this provider; repeatable.")
@click.option("--reset", is_flag=True, help="Take the shipped values for what you have changed, too.")
@click.option("--yes", is_flag=True, help="Do not ask whether to reset.")
@home_option
@json_option
def setup(wanted: tuple[str, ...], reset: bool, yes: bool, home: Path | None, as_json: bool) -> None:
    """Put the models shipped with this version into the catalogue.

    What is there already stays as you have it, disabled ones too; it is told where that differs from what is
    shipped. Safe to run twice. Quality and latency are our estimates.
    """
    from batchmill.catalogue.shipped import read_shipped
    from db import catalogue

    shipped = read_shipped()
    unknown = [name for name in wanted if name not in shipped.providers]
    if unknown:
        raise MisuseError(
            f'no models of "{unknown[0]}" are shipped',
            f"there are models of {', '.join(shipped.providers)}; add others with `batchmill providers add`",
        )
    entries = [entry for entry in shipped.entries if not wanted or entry.provider in wanted]
    if reset and not yes:
        _ask_to_reset()
    with _catalogue(settings_at(home), writing=True) as tx:
        plan = catalogue.set_up(tx, entries, reset=reset)
        bare = [tier for tier in Tier if catalogue.default_of(tx, tier) is None]
    tell_setup(plan, shipped.as_of.isoformat(), reset=reset, bare=bare, as_json=as_json)


@providers.command()
@click.argument("name", metavar="PROVIDER/MODEL", type=Name())
@click.option("--tier", type=tier_choice, required=True, help="Which tier it belongs to.")
@entry_options
@home_option
@json_option
def add(name: tuple[str, str], tier: str, home: Path | None, as_json: bool, **fields: Any) -> None:
    """Add a model.

    The provider is what stands before the first slash; the model is written as requests name it, and may hold
    slashes. Prices are US dollars per million tokens, as plain decimals (0.15); without any, the public
    list's counts.
    """
    from batchmill.catalogue.edits import priced
    from db import catalogue
    from workers.catalogue import shown

    changes, prices = _given(fields)
    bare = ModelEntry(provider=name[0], model=name[1], tier=Tier(tier))
    entry = replace(bare, **changes, prices=priced(bare, prices))
    settings = settings_at(home)
    with _catalogue(settings, writing=True) as tx:
        catalogue.add(tx, entry)
        [model] = shown(tx, settings, [entry])
    tell("added", [model], as_json)
    tell_unknown_price(model)


@providers.command()
@click.argument("name", metavar="PROVIDER/MODEL", type=Name())
@click.option("--tier", type=tier_choice, help="Move it to this tier; a default is none there.")
@entry_options
@click.option("--list-price", is_flag=True, help="Let the public list's price count again.")
@click.option("--no-fallback", is_flag=True, help="Let nobody stand by for it.")
@home_option
@json_option
def edit(
    name: tuple[str, str],
    tier: str | None,
    list_price: bool,
    no_fallback: bool,
    home: Path | None,
    as_json: bool,
    **fields: Any,
) -> None:
    """Change a model's price, tier, limits, or estimates.

    What is not named stays; fallbacks are named all anew. Workers go by it within seconds, without a restart;
    entries in the ledger do not change.
    """
    from batchmill.catalogue.edits import edited
    from db import catalogue
    from workers.catalogue import shown

    changes, prices = _given(fields)
    if no_fallback:
        if "fallback" in changes:
            raise MisuseError("--no-fallback takes the fallbacks away", "leave it out, or --fallback")
        changes["fallback"] = ()
    if tier is not None:
        changes["tier"] = Tier(tier)
    settings = settings_at(home)
    with _catalogue(settings, writing=True) as tx:
        before = catalogue.get(tx, *name)
        entry = edited(before, changes=changes, prices=prices, list_price=list_price)
        catalogue.save(tx, entry)
        [model] = shown(tx, settings, [entry])
    tell("changed", [model], as_json)
    tell_unknown_price(model)
    tell_bare_tier(before, entry)


@providers.command()
@click.argument("names", metavar="PROVIDER/MODEL...", type=Name(), nargs=-1, required=True)
@home_option
@json_option
def enable(names: Sequence[tuple[str, str]], home: Path | None, as_json: bool) -> None:
    """Let models be chosen again."""
    _switch(names, on=True, home=home, as_json=as_json)


@providers.command()
@click.argument("names", metavar="PROVIDER/MODEL...", type=Name(), nargs=-1, required=True)
@home_option
@json_option
def disable(names: Sequence[tuple[str, str]], home: Path | None, as_json: bool) -> None:
    """Let models be chosen no more.

    The price still counts, should a request name one. A default that is disabled is none any more, which is
    told.
    """
    _switch(names, on=False, home=home, as_json=as_json)


@providers.command("set-default")
@click.argument("name", metavar="PROVIDER/MODEL", type=Name())
@home_option
@json_option
def set_default(name: tuple[str, str], home: Path | None, as_json: bool) -> None:
    """Let a model stand for its tier, in place of the one that did.

    Each tier has one default at most, over all providers.
    """
    from batchmill.catalogue.edits import made_default
    from db import catalogue
    from workers.catalogue import shown

    settings = settings_at(home)
    with _catalogue(settings, writing=True) as tx:
        entry = made_default(catalogue.get(tx, *name))
        before = catalogue.default_of(tx, entry.tier)
        catalogue.save(tx, entry)
        models = shown(tx, settings, [entry])
    tell(f"the default of {entry.tier} is", models, as_json)
    if before is not None and before.key != entry.key:
        narrate(f"it was {before.name}")


@providers.command()
@click.argument("names", metavar="PROVIDER/MODEL...", type=Name(), nargs=-1, required=True)
@home_option
@json_option
def remove(names: Sequence[tuple[str, str]], home: Path | None, as_json: bool) -> None:
    """Take models out of the catalogue, with the prices set here."""
    from db import catalogue

    with _catalogue(settings_at(home), writing=True) as tx:
        entries = [catalogue.get(tx, *name) for name in dict.fromkeys(names)]
        for entry in entries:
            catalogue.remove(tx, entry)
    if as_json:
        print_json([entry.name for entry in entries])
    for entry in entries:
        narrate(f"removed {entry.name}")
        tell_bare_tier(entry, None)


def _switch(names: Sequence[tuple[str, str]], *, on: bool, home: Path | None, as_json: bool) -> None:
    from batchmill.catalogue.edits import switched
    from db import catalogue
    from workers.catalogue import shown

    settings = settings_at(home)
    with _catalogue(settings, writing=True) as tx:
        before = [catalogue.get(tx, *name) for name in dict.fromkeys(names)]
        after = [switched(entry, on=on) for entry in before]
        for entry in after:
            catalogue.save(tx, entry)
        models = shown(tx, settings, after)
    tell("enabled" if on else "disabled", models, as_json)
    for was, entry in zip(before, after, strict=True):
        tell_bare_tier(was, entry)


def _given(fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """The options that were given: fields of an entry, and parts of its price."""
    given = {name: value for name, value in fields.items() if value not in (None, ())}
    prices = {name: given.pop(name) for name in PRICE_FIELDS if name in given}
    return given, prices


@contextmanager
def _catalogue(settings: Settings, *, writing: bool = False) -> Iterator[Any]:
    """A transaction on the catalogue; one that writes has it for itself, one that only looks makes no home."""
    from db import catalogue
    from workers.assembly import existing_database, prepared_database

    database = prepared_database(settings) if writing else existing_database(settings)
    try:
        with database.write() if writing else database.read() as tx:
            if writing:
                catalogue.lock(tx)
            yield tx
    finally:
        database.close()


def _ask_to_reset() -> None:
    if not sys.stdin.isatty():
        raise MisuseError("--reset takes back what you have changed", "say --yes as well, if that is meant")
    click.confirm("Take the shipped values for what you have changed?", abort=True, err=True)
