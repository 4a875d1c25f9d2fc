"""What one model costs in one context, as whole numbers, so that the common case needs no Decimal."""

from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from operator import index

from batchmill.money.nanos import MAX_NANOS, divide_half_even
from batchmill.money.usage import Usage

RATE_DECIMALS = 18
"""Decimals of a price in USD per million tokens that a rate keeps; no listed price has more."""

_RATES_PER_USD_PER_MTOK: int = 10**RATE_DECIMALS
RATES_PER_NANO = 10**15
"""What an amount in the units of `Rates` is divided by to be nano-dollars."""
_TOKENS_PER_PRICE = 1_000_000


class Unpriced(StrEnum):
    """Why a cost is not known."""

    NO_USAGE = "no_usage"
    """The answer does not say what it used."""
    INVALID_USAGE = "invalid_usage"
    """The usage contradicts itself: a part larger than its whole, a count below zero."""
    UNKNOWN_MODEL = "unknown_model"
    """No price list has this provider and model."""
    NO_LIST_PRICE = "no_list_price"
    """The model is listed without any price, which is not the same as free."""
    UNPRICED_TOKENS = "unpriced_tokens"
    """The answer used tokens of a kind whose own price is not listed: sound, one-hour cache writes."""
    AMBIGUOUS_USAGE = "ambiguous_usage"
    """Kinds overlap, by how much is not said: cached sound, or many calls across a price tier."""
    UNMEASURED_UNIT = "unmeasured_unit"
    """The model charges for something our usage does not count: pictures, pages, seconds, citations."""
    UNSUPPORTED_PRICE_CONTEXT = "unsupported_price_context"
    """No native-batch price is known for this model."""
    PRICING_ERROR = "pricing_error"
    """The price list failed on this usage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Prices by kind of token, in 1e-24 USD per token: a price in USD per million tokens times 1e18.

    Attributes:
        input: None when input cannot be priced.
        cached: None charges cached input as input, which is never too little.
        cache_write_5m: None charges it as input, as vendors without a write fee do.
        cache_write_1h: None makes the cost of such tokens unknown.
        output: None makes the cost of output unknown.
        reasoning: None charges reasoning as output.
        audio_input: None makes the cost of sound unknown; so does its text price.
        audio_output: Likewise.
        request: Per request, in 1e-24 USD.
    """

    input: int | None = None
    cached: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    request: int = 0

    def nanos(self, usage: Usage, requests: int) -> int | Unpriced:
        """Return the cost rounded once, or why it is not known. The usage is taken to be consistent."""
        units = self.request * requests
        if usage.input_tokens:
            if self.input is None:
                return Unpriced.UNPRICED_TOKENS
            units += usage.input_tokens * self.input
        if usage.output_tokens:
            if self.output is None:
                return Unpriced.UNPRICED_TOKENS
            units += usage.output_tokens * self.output
        if usage.cached_tokens and self.cached is not None:
            units += usage.cached_tokens * (self.cached - (self.input or 0))
        if _has_rare_kinds(usage):
            rare = self._rare_units(usage)
            if isinstance(rare, Unpriced):
                return rare
            units += rare
        nanos = divide_half_even(index(units), RATES_PER_NANO)  # a count that is no int must not pass
        return nanos if nanos <= MAX_NANOS else Unpriced.INVALID_USAGE

    def _rare_units(self, usage: Usage) -> int | Unpriced:
        """Return what cache writes, reasoning and sound cost beyond plain input and output."""
        why_not = self._rare_kind_without_price(usage)
        if why_not is not None:
            return why_not
        plain_input, plain_output = self.input or 0, self.output or 0
        kinds = (
            (usage.cache_write_5m_tokens, self.cache_write_5m, plain_input),
            (usage.cache_write_1h_tokens, self.cache_write_1h, plain_input),
            (usage.audio_input_tokens, self.audio_input, plain_input),
            (usage.reasoning_tokens, self.reasoning, plain_output),
            (usage.audio_output_tokens, self.audio_output, plain_output),
        )
        return sum(tokens * (rate - plain) for tokens, rate, plain in kinds if rate is not None)

    def _rare_kind_without_price(self, usage: Usage) -> Unpriced | None:
        if (
            (usage.cache_write_1h_tokens and self.cache_write_1h is None)
            or (usage.audio_input_tokens and self.audio_input is None)
            or (usage.audio_output_tokens and self.audio_output is None)
        ):
            return Unpriced.UNPRICED_TOKENS
        cache_overlaps = (usage.cached_tokens and self.cached is not None) or (
            usage.cache_write_1h_tokens or (usage.cache_write_5m_tokens and self.cache_write_5m is not None)
        )
        thought_overlaps = usage.reasoning_tokens and self.reasoning is not None
        if (usage.audio_input_tokens and cache_overlaps) or (usage.audio_output_tokens and thought_overlaps):
            return Unpriced.AMBIGUOUS_USAGE
        return None

    def nanos_without_usage(self, requests: int) -> int | None:
        """Return the cost when tokens are free whatever their kind; None when it takes the usage to know."""
        if any(getattr(self, kind) != 0 for kind in _TOKEN_KINDS):
            return None
        return divide_half_even(self.request * requests, RATES_PER_NANO)


_TOKEN_KINDS = tuple(field.name for field in fields(Rates) if field.name != "request")


def token_free_rates(request: int = 0) -> Rates:
    """Return rates by which every kind of token is known to cost nothing."""
    return Rates(**dict.fromkeys(_TOKEN_KINDS, 0), request=request)


def _has_rare_kinds(usage: Usage) -> bool:
    return bool(
        usage.reasoning_tokens
        or usage.cache_write_5m_tokens
        or usage.cache_write_1h_tokens
        or usage.audio_input_tokens
        or usage.audio_output_tokens
    )


def is_consistent(usage: Usage) -> bool:
    """Tell whether no part is larger than its whole and no count is below zero."""
    cached_or_written = usage.cached_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    return (
        0 <= cached_or_written <= usage.input_tokens
        and 0 <= usage.reasoning_tokens <= usage.output_tokens
        and 0 <= usage.audio_input_tokens <= usage.input_tokens
        and 0 <= usage.audio_output_tokens <= usage.output_tokens
        and usage.cached_tokens >= 0
        and usage.cache_write_5m_tokens >= 0
        and usage.cache_write_1h_tokens >= 0
    )


def rate_per_token(usd_per_mtok: Decimal) -> int:
    """Return a price per million tokens as a rate.

    Raises:
        ValueError: When it has more than `RATE_DECIMALS` decimals.
    """
    numerator, denominator = usd_per_mtok.as_integer_ratio()
    rate, rest = divmod(numerator * _RATES_PER_USD_PER_MTOK, denominator)
    if rest:
        raise ValueError(f"{usd_per_mtok} has more than {RATE_DECIMALS} decimals")
    return rate


def rate_per_request(usd_per_request: Decimal) -> int:
    """Return a price per request as a rate. Raises ValueError as `rate_per_token` does."""
    return rate_per_token(usd_per_request) * _TOKENS_PER_PRICE
