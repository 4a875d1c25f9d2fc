"""The models that are shipped with this version: `shipped.toml` beside this file, dated, with its sources."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from batchmill.catalogue.entries import Capability, ModelEntry, Tier
from batchmill.catalogue.prices import NAMES_IN_USD, ModelPrices, price_nanos

_FILE = Path(__file__).with_name("shipped.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """What is shipped.

    Attributes:
        as_of: When its facts were looked up.
        entries: In the order of the file.
    """

    as_of: date
    entries: tuple[ModelEntry, ...]

    @property
    def providers(self) -> tuple[str, ...]:
        """Of whom there are models, in the order of the file."""
        return tuple(dict.fromkeys(entry.provider for entry in self.entries))


def read_shipped() -> Shipped:
    """Return the models that are shipped with this version."""
    document = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return Shipped(as_of=document["as_of"], entries=tuple(_entry(model) for model in document["models"]))


def _entry(model: Mapping[str, Any]) -> ModelEntry:
    prices = {name: price_nanos(model[in_usd]) for name, in_usd in NAMES_IN_USD.items() if in_usd in model}
    return ModelEntry(
        provider=model["provider"],
        model=model["model"],
        tier=Tier(model["tier"]),
        prices=ModelPrices(**prices) if prices else None,
        quality=model["quality"],
        latency_ms=model["latency_ms"],
        context_tokens=model.get("context_tokens"),
        output_cap_tokens=model.get("output_cap_tokens"),
        capabilities=frozenset(map(Capability, model["capabilities"])),
        is_default=model.get("default", False),
        notes=model.get("notes", ""),
    )
