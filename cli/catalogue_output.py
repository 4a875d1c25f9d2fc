"""How entries of the catalogue, and what a command did to them, are shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.catalogue.in_force import PriceInForce, PriceSource
from batchmill.catalogue.prices import NAMES_IN_USD, ModelPrices
from batchmill.catalogue.setup import Difference, SetupPlan
from batchmill.catalogue.views import Shown, plain_usd, view, words_of
from batchmill.money.nanos import usd_text
from cli.output import narrate, print_json, print_table


def show(models: Sequence[Shown], as_json: bool) -> None:
    """Print entries as a table or as JSON."""
    if as_json:
        print_json([view(model) for model in models])
    else:
        print_table([_as_row(model.entry, model.price) for model in models])


def tell(done: str, models: Sequence[Shown], as_json: bool) -> None:
    """Say what was done to entries, and print them where JSON is wanted."""
    if as_json:
        print_json([view(model) for model in models])
    for model in models:
        narrate(f"{done} {model.entry.name}")


def tell_unknown_price(model: Shown) -> None:
    """Say so when nobody has a price for an entry."""
    if model.price.source is PriceSource.UNKNOWN:
        narrate(
            f"no price is known for {model.entry.name} ({model.price.reason}): what it costs is not counted"
        )


def tell_bare_tier(before: ModelEntry, after: ModelEntry | None) -> None:
    """Say so when a tier has lost its default."""
    if before.is_default and (after is None or not after.is_default):
        narrate(
            f"the tier {before.tier} has no default now; name another with `batchmill providers set-default`"
        )


def tell_setup(plan: SetupPlan, as_of: str, *, reset: bool, bare: Sequence[Tier], as_json: bool) -> None:
    """Say what a setup added, kept, and found different."""
    if as_json:
        print_json(
            {
                "as_of": as_of,
                "added": [entry.name for entry in plan.added],
                "same": [entry.name for entry in plan.same],
                "different": [_difference_as_json(difference) for difference in plan.different],
                "reset": reset,
                "tiers_without_default": [tier.value for tier in bare],
            }
        )
    narrate(
        f"added {len(plan.added)}, the same already {len(plan.same)}, different {len(plan.different)};"
        f" shipped as of {as_of}"
    )
    for difference in plan.different:
        entry, shipped = difference.entry, difference.shipped
        fields = "; ".join(
            f"{name} {_words_of(entry, name)}, shipped {_words_of(shipped, name)}"
            for name in difference.fields
        )
        narrate(f"{entry.name}: {'now as shipped, was' if reset else 'kept as you have it'}: {fields}")
    for tier in bare:
        narrate(f"the tier {tier} has no default; name one with `batchmill providers set-default`")


def _difference_as_json(difference: Difference) -> dict[str, Any]:
    return {
        "name": difference.entry.name,
        "fields": {
            name: {"yours": _plain(difference.entry, name), "shipped": _plain(difference.shipped, name)}
            for name in difference.fields
        },
    }


def _plain(entry: ModelEntry, name: str) -> Any:
    """A field's value as JSON has it; of a price, its parts that are set, none where the list's counts."""
    value = getattr(entry, name)
    if isinstance(value, ModelPrices):
        parts = ((in_usd, getattr(value, name)) for name, in_usd in NAMES_IN_USD.items())
        return {in_usd: usd_text(nanos) for in_usd, nanos in parts if nanos is not None}
    if name == "fallback":
        return [target.name for target in value]
    return words_of(value) if name == "capabilities" else value


def _words_of(entry: ModelEntry, name: str) -> str:
    """A field's value as a person reads it."""
    plain = _plain(entry, name)
    if isinstance(plain, dict):
        return " ".join(f"{part}={usd}" for part, usd in plain.items())
    if name == "prices":
        return "the list's"
    if isinstance(plain, bool):
        return "yes" if plain else "no"
    return "none" if plain in (None, "", []) else ",".join(plain) if isinstance(plain, list) else str(plain)


def _as_row(entry: ModelEntry, price: PriceInForce) -> Mapping[str, object]:
    """The same as a row of a table."""
    limit = f" to {price.up_to_tokens:,} in" if price.up_to_tokens is not None else ""
    return {
        "model": entry.name,
        "tier": entry.tier,
        "state": "default" if entry.is_default else "active" if entry.is_active else "disabled",
        "input": plain_usd(price.input_usd_per_mtok),
        "cached": plain_usd(price.cached_input_usd_per_mtok),
        "output": plain_usd(price.output_usd_per_mtok),
        "request": plain_usd(price.usd_per_request),
        "price": price.source + limit,
        "quality": entry.quality,
        "latency_ms": entry.latency_ms,
        "context": entry.context_tokens,
        "output_cap": entry.output_cap_tokens,
        "capabilities": ",".join(words_of(entry.capabilities)),
        "fallback": ",".join(target.name for target in entry.fallback) or None,
    }
