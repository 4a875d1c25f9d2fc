"""Which price of a model counts, and whose it is."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from batchmill.catalogue.entries import ModelEntry
from batchmill.money.list_prices import Tariff
from batchmill.money.owner_prices import OwnerPrices
from batchmill.money.prices import Pricer
from batchmill.money.rates import RATE_DECIMALS, Unpriced

_REQUEST_DECIMALS = RATE_DECIMALS + 6  # a rate is for one token, a price for a million


class PriceSource(StrEnum):
    """Whose price it is, the first of them that has one."""

    FILE = "file"
    """BATCHMILL_PRICES."""
    OWN = "own"
    """The catalogue's."""
    LIST = "list"
    """The public list's."""
    UNKNOWN = "unknown"
    """Nobody has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceInForce:
    """What a model costs now, in US dollars; None where it has no price of its own.

    Attributes:
        up_to_tokens: The most input tokens for which it counts, more are dearer; None when there is no such line.
        reason: Why it is not known, an `Unpriced`; "" when it is.
    """

    source: PriceSource
    input_usd_per_mtok: Decimal | None = None
    cached_input_usd_per_mtok: Decimal | None = None
    output_usd_per_mtok: Decimal | None = None
    usd_per_request: Decimal | None = None
    up_to_tokens: int | None = None
    reason: str = ""


def price_in_force(entry: ModelEntry, file_prices: OwnerPrices, pricer: Pricer) -> PriceInForce:
    """Return what counts for an entry.

    Args:
        pricer: One that knows the file's prices and the catalogue's.
    """
    tariff = pricer.tariff(provider=entry.provider, model=entry.model)
    if isinstance(tariff, Unpriced):
        return PriceInForce(source=PriceSource.UNKNOWN, reason=tariff.value)
    is_listed = isinstance(tariff, Tariff)
    rates = tariff.rates if isinstance(tariff, Tariff) else tariff
    own_source = PriceSource.FILE if entry.key in file_prices else PriceSource.OWN
    return PriceInForce(
        source=PriceSource.LIST if is_listed else own_source,
        input_usd_per_mtok=_usd(rates.input),
        cached_input_usd_per_mtok=_usd(rates.cached),
        output_usd_per_mtok=_usd(rates.output),
        usd_per_request=_usd(rates.request or None, _REQUEST_DECIMALS),
        up_to_tokens=tariff.flat_up_to if isinstance(tariff, Tariff) else None,
    )


def _usd(rate: int | None, decimals: int = RATE_DECIMALS) -> Decimal | None:
    return None if rate is None else Decimal(rate).scaleb(-decimals).normalize()
