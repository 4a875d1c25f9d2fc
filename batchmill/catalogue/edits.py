"""Changes to one entry, each checked as a whole before anything is written."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.catalogue.prices import ModelPrices
from batchmill.errors import ConflictError, MisuseError


def edited(
    entry: ModelEntry, *, changes: Mapping[str, Any], prices: Mapping[str, int], list_price: bool = False
) -> ModelEntry:
    """Return the entry with fields replaced. One that moves to another tier is no default there.

    Args:
        changes: New values by field of `ModelEntry`, prices aside.
        prices: New values by field of `ModelPrices`; those not given stay.
        list_price: Whether the public list's price is to count again.

    Raises:
        MisuseError: When there is nothing to change, or the result cannot be.
    """
    if list_price and prices:
        raise MisuseError(
            "a price of your own and the list's price exclude each other", "leave out one of them"
        )
    if not (changes or prices or list_price):
        raise MisuseError(f"there is nothing to change about {entry.name}", "give one option at least")
    tier: Tier = changes.get("tier", entry.tier)
    return replace(
        entry,
        **{
            **changes,
            "prices": None if list_price else priced(entry, prices),
            "is_default": entry.is_default and tier is entry.tier,
        },
    )


def priced(entry: ModelEntry, prices: Mapping[str, int]) -> ModelPrices | None:
    """Return the entry's own price with those parts replaced; None when it has none and gets none.

    Raises:
        MisuseError: When half a price would come of it, naming the entry and the other half.
    """
    if not prices:
        return entry.prices
    try:
        return replace(entry.prices, **prices) if entry.prices else ModelPrices(**prices)
    except MisuseError as error:
        raise MisuseError(
            f"{entry.name}: {error.message}",
            "a price of your own replaces all of the list's: give input and output (0 where it is free),"
            " or one per request alone",
        ) from None


def switched(entry: ModelEntry, *, on: bool) -> ModelEntry:
    """Return the entry enabled or disabled; a default that is disabled is none any more."""
    return replace(entry, is_active=on, is_default=entry.is_default and on)


def made_default(entry: ModelEntry) -> ModelEntry:
    """Return the entry as the default of its tier.

    Raises:
        ConflictError: When it is disabled.
    """
    if not entry.is_active:
        raise ConflictError(
            f"{entry.name} is disabled, so it cannot be the default of {entry.tier}",
            f"run `batchmill providers enable {entry.name}` first",
        )
    return replace(entry, is_default=True)
