"""Views of the catalogue: its entries with the prices that count. Money is exact dollars as text."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from batchmill.catalogue.entries import Capability, ModelEntry
from batchmill.catalogue.in_force import PriceInForce


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry and the price that counts for it."""

    entry: ModelEntry
    price: PriceInForce


def view(model: Shown) -> dict[str, Any]:
    """An entry and the price that counts for it, as JSON shows them."""
    entry, price = model.entry, model.price
    return {
        "name": entry.name,
        "provider": entry.provider,
        "model": entry.model,
        "tier": entry.tier.value,
        "active": entry.is_active,
        "default": entry.is_default,
        "price": {
            "source": price.source.value,
            "input_usd_per_mtok": plain_usd(price.input_usd_per_mtok),
            "cached_input_usd_per_mtok": plain_usd(price.cached_input_usd_per_mtok),
            "output_usd_per_mtok": plain_usd(price.output_usd_per_mtok),
            "usd_per_request": plain_usd(price.usd_per_request),
            "up_to_input_tokens": price.up_to_tokens,
            "reason": price.reason,
        },
        "quality": entry.quality,
        "latency_ms": entry.latency_ms,
        "context_tokens": entry.context_tokens,
        "output_cap_tokens": entry.output_cap_tokens,
        "capabilities": words_of(entry.capabilities),
        "fallback": [target.name for target in entry.fallback],
        "notes": entry.notes,
    }


def words_of(capabilities: frozenset[Capability]) -> list[str]:
    """What a model can do, in words, in their order."""
    return [word.value for word in Capability if word in capabilities]


def plain_usd(amount: Decimal | None) -> str | None:
    """A price in plain decimals; None where there is none."""
    return None if amount is None else f"{amount:f}"
