"""Prices the owner of the installation sets: for models no list has, contracts, machines of one's own.

A JSON object; every price is decimal text in USD, and only the first of a token entry is required:

```json
{"openai/gpt-4o-mini": {"input_usd_per_mtok": "0.15", "cached_input_usd_per_mtok": "0.075",
                        "output_usd_per_mtok": "0.60", "native_batch_multiplier": "0.5"},
 "ollama/llama3.3":    {"input_usd_per_mtok": "0", "output_usd_per_mtok": "0"},
 "acme/search":        {"usd_per_request": "0.01"}}
```

Cached input and five-minute cache writes without a price of their own are charged as input, reasoning as
output; tokens of any other kind without a price make the cost unknown. An entry of zeros, or of
`usd_per_request` alone, charges for no kind of token at all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from batchmill.errors import SettingsError
from batchmill.money.rates import RATE_DECIMALS, Rates, rate_per_request, rate_per_token, token_free_rates

_RATE_FIELDS = {
    "input_usd_per_mtok": "input",
    "cached_input_usd_per_mtok": "cached",
    "cache_write_5m_usd_per_mtok": "cache_write_5m",
    "cache_write_1h_usd_per_mtok": "cache_write_1h",
    "output_usd_per_mtok": "output",
    "audio_input_usd_per_mtok": "audio_input",
    "audio_output_usd_per_mtok": "audio_output",
}
_PER_REQUEST = "usd_per_request"
_BATCH_MULTIPLIER = "native_batch_multiplier"
_FIELDS = (*_RATE_FIELDS, _PER_REQUEST, _BATCH_MULTIPLIER)
_HIGHEST_USD = 1_000_000
_EXACT = Context(prec=100)
_EXAMPLE = (
    'an entry looks like "openai/gpt-4o-mini": {"input_usd_per_mtok": "0.15", "output_usd_per_mtok": "0.60"}'
)
_AMOUNT = 'write US dollars as decimal text, "0.15" for instance'


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerPrice:
    """What the owner says one model costs.

    Attributes:
        native_batch: None when the entry does not say what a native batch costs.
    """

    standard: Rates
    native_batch: Rates | None


OwnerPrices = Mapping[tuple[str, str], OwnerPrice]
"""By provider and model."""


def read_owner_prices(path: Path) -> OwnerPrices:
    """Return the prices in a JSON file.

    Raises:
        SettingsError: When it cannot be read, or an entry is wrong; names the file and the entry.
    """
    try:
        raw = json.loads(path.read_bytes(), parse_float=Decimal, object_pairs_hook=_each_once)
    except OSError as error:
        raise SettingsError(
            f"prices {path} cannot be read: {error.strerror}",
            "BATCHMILL_PRICES names the file; put that right, or unset it",
        ) from None
    except ValueError as error:
        raise SettingsError(
            f"prices {path} are no JSON: {error}", "correct the file that BATCHMILL_PRICES names"
        ) from None
    return parse_owner_prices(raw, source=str(path))


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name in given:
            raise ValueError(f'"{name}" is given twice')
        given[name] = value
    return given


def parse_owner_prices(raw: Any, *, source: str = "prices") -> OwnerPrices:
    """Return the prices in a mapping of "provider/model" to its entry.

    Args:
        source: Where they come from, for the error.

    Raises:
        SettingsError: When an entry is wrong; names it.
    """
    if not isinstance(raw, Mapping):
        raise SettingsError(
            f'{source}: expected an object of "provider/model" entries, got {_kind(raw)}', _EXAMPLE
        )
    prices: dict[tuple[str, str], OwnerPrice] = {}
    for name, entry in raw.items():
        provider, slash, model = str(name).partition("/")
        if not (slash and provider and model):
            raise SettingsError(f'{source}: entry "{name}" is not named "provider/model"', _EXAMPLE)
        prices[provider, model] = _owner_price(entry, where=f'{source}: entry "{name}"')
    return prices


def _owner_price(entry: Any, *, where: str) -> OwnerPrice:
    if not isinstance(entry, Mapping):
        raise SettingsError(f"{where} must be an object of prices, got {_kind(entry)}", _EXAMPLE)
    unknown = sorted(str(field) for field in entry.keys() - set(_FIELDS))
    if unknown:
        raise SettingsError(f"{where} has no field {unknown[0]}", f"fields: {', '.join(_FIELDS)}")
    usd = {field: _amount(entry[field], where=f"{where}, {field}") for field in _FIELDS if field in entry}
    multiplier = usd.pop(_BATCH_MULTIPLIER, None)
    if "input_usd_per_mtok" not in usd and usd.keys() != {_PER_REQUEST}:
        raise SettingsError(
            f"{where} has no input_usd_per_mtok",
            'write "0" for a model that costs nothing, or usd_per_request alone',
        )
    if multiplier is None or not any(usd.values()):
        return owner_price(usd)
    try:
        return OwnerPrice(standard=_rates(usd), native_batch=_rates(_times(usd, multiplier)))
    except ValueError as error:
        raise SettingsError(f"{where}, {_BATCH_MULTIPLIER}: {error}", _AMOUNT) from None


def owner_price(usd: Mapping[str, Decimal]) -> OwnerPrice:
    """Return the price that these fields of an entry make; what a native batch costs is known of a free model only."""
    standard = _rates(usd)
    return OwnerPrice(standard=standard, native_batch=None if any(usd.values()) else standard)


def _rates(usd: Mapping[str, Decimal]) -> Rates:
    request = rate_per_request(usd.get(_PER_REQUEST, Decimal(0)))
    if not any(price for field, price in usd.items() if field != _PER_REQUEST):
        return token_free_rates(request)
    kinds = {kind: rate_per_token(usd[field]) for field, kind in _RATE_FIELDS.items() if field in usd}
    return Rates(**kinds, request=request)


def _times(usd: Mapping[str, Decimal], multiplier: Decimal) -> dict[str, Decimal]:
    return {field: _EXACT.multiply(price, multiplier) for field, price in usd.items()}


def _amount(value: Any, *, where: str) -> Decimal:
    if isinstance(value, bool | float) or not isinstance(value, str | int | Decimal):
        raise SettingsError(f"{where} must be decimal text, got {_kind(value)}", 'write "0.15", with quotes')
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise SettingsError(f'{where} is "{value}", which is no decimal number', _AMOUNT) from None
    if not amount.is_finite() or not 0 <= amount <= _HIGHEST_USD:
        raise SettingsError(f"{where} is {amount}; it must be from 0 to {_HIGHEST_USD}", _AMOUNT)
    if amount and amount != round(amount, RATE_DECIMALS):
        raise SettingsError(f"{where} is {amount}; {RATE_DECIMALS} decimals are the most", _AMOUNT)
    return amount


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
