"""The public price list (genai-prices, shipped offline), and what it must not be believed about.

It answers with a price wherever it can. Running 0.2.3 shows answers that are wrong without a word:

- native batch without a batch price: the standard price;
- sound without a price for sound: charged as text;
- one-hour cache writes without their own price: charged as five-minute ones;
- a model charged by the second, the page or the picture: $0 for those;
- a provider called `my-openai-local`: OpenAI's prices.

Each of these is an `Unpriced` here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from batchmill.money.nanos import nanos_from_usd
from batchmill.money.rates import Rates, Unpriced, rate_per_request, rate_per_token, token_free_rates
from batchmill.money.usage import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

PROVIDER_IDS: Mapping[str, str] = {
    "gemini": "google",
    "vertex": "google",
    "bedrock": "aws",
    "xai": "x-ai",
    "moonshot": "moonshotai",
}
"""Our other names for a provider of the list; any name that is neither here nor there is not in the list."""

_BATCH = {"processing": "batch"}
_DAY_MS = 86_400_000
_MOST_TARIFFS = 4096
_RATE_KEYS = {
    "input": "input_mtok",
    "cached": "cache_read_mtok",
    "output": "output_mtok",
    "reasoning": "output_reasoning_mtok",
    "audio_input": "input_audio_mtok",
    "audio_output": "output_audio_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}
# Searches are charged only to requests that ask for them; sound from the cache is refused in `Rates`.
_HARMLESS_KEYS = frozenset(
    {
        *_RATE_KEYS.values(),
        "cache_write_mtok",
        "cache_write_5m_mtok",
        "cache_audio_read_mtok",
        "requests_kcount",
        "web_searches_kcount",
        "social_searches_kcount",
        "storage_searches_kcount",
        "code_executions_kcount",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What one model of the list costs at one time.

    Attributes:
        flat_up_to: The most input tokens for which `rates` are exact; None when there is no tier above.
        prices: The list's own price, which knows the tiers.
        tiers: The rates of each tier above, with the input tokens that it is beyond; in rising order.
    """

    rates: Rates
    flat_up_to: int | None
    prices: "ModelPrice"
    tiers: tuple[tuple[int, Rates], ...] = ()

    def rates_at(self, input_tokens: int) -> Rates:
        """Return the rates at that much input."""
        reached = self.rates
        for beyond, rates in self.tiers:
            if input_tokens > beyond:
                reached = rates
        return reached

    def nanos(self, usage: Usage, requests: int) -> int | Unpriced:
        """Return the cost, or why it is not known. The usage is taken to be consistent."""
        nanos = self.rates.nanos(usage, requests)
        in_first_tier = self.flat_up_to is None or usage.input_tokens <= self.flat_up_to
        if in_first_tier or isinstance(nanos, Unpriced):
            return nanos
        if requests != 1:  # a sum over calls does not say which of them crossed the line
            return Unpriced.AMBIGUOUS_USAGE
        return nanos_from_usd(_list_price_usd(self.prices, usage))

    def nanos_without_usage(self, requests: int) -> int | None:
        """Return the cost when tokens are free whatever their kind; None when it takes the usage to know."""
        return self.rates.nanos_without_usage(requests)


class ListPrices:
    """Finds tariffs in the list and keeps them for the day they are of; for one thread or event loop."""

    def __init__(self) -> None:
        self._tariffs: dict[tuple[str, str, bool, int], Tariff | Unpriced] = {}

    def tariff(self, provider: str, model: str, *, native_batch: bool, at_ms: int) -> Tariff | Unpriced:
        """Return what a model costs at a time, or why that is not known. Raises whatever the list raises."""
        key = (provider, model, native_batch, at_ms // _DAY_MS)
        known = self._tariffs.get(key)
        if known is not None:
            return known
        found = _find(provider, model)
        if found is None:
            return self._keep(key, Unpriced.UNKNOWN_MODEL)
        tariff = _tariff_of(*found, native_batch=native_batch, at=datetime.fromtimestamp(at_ms / 1000, UTC))
        return tariff if _changes_within_a_day(found[1]) else self._keep(key, tariff)

    def _keep(self, key: tuple[str, str, bool, int], tariff: Tariff | Unpriced) -> Tariff | Unpriced:
        if len(self._tariffs) >= _MOST_TARIFFS:  # model names come from producers: never without end
            self._tariffs.clear()
        self._tariffs[key] = tariff
        return tariff


def load() -> None:
    """Read the list now (0.3 s, more on a busy machine), so that the first answer to be priced need not wait for it."""
    from genai_prices.data_snapshot import get_snapshot

    get_snapshot()


def _find(provider: str, model: str) -> "tuple[Provider, ModelInfo] | None":
    """Look a model up by the exact id of its provider; the list takes any name that contains one."""
    from genai_prices.data_snapshot import get_snapshot  # 0.3 s, so not before the first price

    snapshot = get_snapshot()
    provider_id = PROVIDER_IDS.get(provider, provider)
    if all(listed.id != provider_id for listed in snapshot.providers):
        return None
    try:
        return snapshot.find_provider_model(model, None, provider_id, None)
    except LookupError:
        return None


def _tariff_of(
    provider: "Provider", model: "ModelInfo", *, native_batch: bool, at: datetime
) -> Tariff | Unpriced:
    prices = model.get_prices(at, _BATCH if native_batch else None)
    keys = _priced_keys(prices)
    if not keys:
        if _is_free_by_name(provider, model):
            return Tariff(rates=token_free_rates(), flat_up_to=None, prices=prices)
        return Unpriced.NO_LIST_PRICE
    if keys - _HARMLESS_KEYS:
        return Unpriced.UNMEASURED_UNIT
    if native_batch and not _has_batch_price(provider, model, at):
        return Unpriced.UNSUPPORTED_PRICE_CONTEXT
    starts = _tier_starts(prices)
    return Tariff(
        rates=_rates(prices),
        flat_up_to=min(starts, default=None),
        prices=prices,
        tiers=tuple((start, _rates(prices, input_tokens=start + 1)) for start in starts),
    )


def _is_free_by_name(provider: "Provider", model: "ModelInfo") -> bool:
    """Tell a free model from one without a price. OpenAI's moderation is free (its pricing page, 2026-11)."""
    return model.id.endswith(":free") or (provider.id == "openai" and model.id == "moderation")


def _has_batch_price(provider: "Provider", model: "ModelInfo", at: datetime) -> bool:
    """Tell whether a batch price in force covers input and output; the list falls back to standard silently.

    Cached input may fall back: vendors give one discount or the other, and cached is never above batch input.
    """
    if not any(model is own for own in provider.models):
        return False
    wanted = _priced_keys(model.get_prices(at)) & {"input_mtok", "output_mtok"}
    covered: set[str] = set()
    for variant in model.price_variants or ():
        if variant.when == _BATCH and (variant.constraint is None or variant.constraint.active(at)):
            covered |= _priced_keys(variant.prices)
    return wanted <= covered


def _changes_within_a_day(model: "ModelInfo") -> bool:
    from genai_prices.types import ModelPrice, TimeOfDateConstraint

    dated = [] if isinstance(model.prices, ModelPrice) else model.prices
    constraints = [price.constraint for price in (*dated, *(model.price_variants or ()))]
    return any(isinstance(constraint, TimeOfDateConstraint) for constraint in constraints)


def _priced_keys(prices: "ModelPrice") -> set[str]:
    return {key for key, price in vars(prices).items() if price is not None}


def _rates(prices: "ModelPrice", input_tokens: int = 0) -> Rates:
    """The rates at that much input."""
    rates = {kind: _rate(prices, key, input_tokens) for kind, key in _RATE_KEYS.items()}
    rates["cache_write_5m"] = _rate(prices, "cache_write_5m_mtok", input_tokens)
    if rates["cache_write_5m"] is None:  # where there is one price for writing, it is that of five minutes
        rates["cache_write_5m"] = _rate(prices, "cache_write_mtok", input_tokens)
    per_thousand = _price(prices, "requests_kcount", input_tokens)
    return Rates(**rates, request=rate_per_request(per_thousand / 1000) if per_thousand else 0)


def _rate(prices: "ModelPrice", key: str, input_tokens: int) -> int | None:
    price = _price(prices, key, input_tokens)
    return None if price is None else rate_per_token(price)


def _price(prices: "ModelPrice", key: str, input_tokens: int) -> Decimal | None:
    price: Decimal | TieredPrices | None = getattr(prices, key)
    if price is None or isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if input_tokens > tier.start]
    return reached[-1] if reached else price.base


def _tier_starts(prices: "ModelPrice") -> list[int]:
    """The input tokens beyond which something has another price, in rising order."""
    tiered = [
        price for price in vars(prices).values() if price is not None and not isinstance(price, Decimal)
    ]
    return sorted({tier.start for price in tiered for tier in price.tiers})


def _list_price_usd(prices: "ModelPrice", usage: Usage) -> Decimal:
    from genai_prices import Usage as ListUsage

    listed = ListUsage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        cache_write_5m_tokens=usage.cache_write_5m_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        input_audio_tokens=usage.audio_input_tokens,
        output_tokens=usage.output_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        output_audio_tokens=usage.audio_output_tokens,
    )
    return prices.calc_price(listed)["total_price"]
