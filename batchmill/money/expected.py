"""What a call is expected to cost, before it is made."""

from batchmill.money.list_prices import Tariff
from batchmill.money.nanos import divide_half_even
from batchmill.money.rates import RATES_PER_NANO, Rates, Unpriced


def expected_units(tariff: Rates | Tariff | Unpriced, input_tokens: int, output_tokens: int) -> int | None:
    """What a call is expected to cost, in the units of `Rates`; None when no price is known.

    It is taken for plain text, nothing of it from the provider's cache.
    """
    if isinstance(tariff, Unpriced):
        return None
    rates = tariff.rates_at(input_tokens) if isinstance(tariff, Tariff) else tariff
    if rates.input is None or (rates.output is None and output_tokens):
        return None
    return rates.request + input_tokens * rates.input + output_tokens * (rates.output or 0)


def expected_nanos(tariff: Rates | Tariff | Unpriced, input_tokens: int, output_tokens: int) -> int | None:
    """The same in nano-dollars."""
    units = expected_units(tariff, input_tokens, output_tokens)
    return None if units is None else divide_half_even(units, RATES_PER_NANO)
