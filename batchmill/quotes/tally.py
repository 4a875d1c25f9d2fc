"""What the requests of one model and type add up to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from batchmill.money.bounds import Bound, Bounds
from batchmill.money.list_prices import Tariff
from batchmill.money.nanos import divide_half_even
from batchmill.money.prices import Pricer
from batchmill.money.rates import RATES_PER_NANO, Unpriced
from batchmill.quotes.forecast import Forecast
from batchmill.requests.model import Endpoint
from batchmill.tokens.count import count_request
from batchmill.tokens.most_output import answer_count


@dataclass(slots=True, kw_only=True)
class Tally:
    """Some requests, added up.

    Attributes:
        lines: All of them.
        is_exact: No input of theirs is an estimate.
        hits: Those that the cache has an answer for.
        repeats: Those that ask what one before them asks: its answer is theirs.
        calls: The others, one call each.
        input_tokens: Of all lines.
        called_input_tokens: Of the calls.
        output_tokens: What the calls are expected to give out.
        expected_units: What the calls are expected to cost, in the units of `Rates`.
        most_nanos: What all lines can cost at most, one call each: hits may expire, an answer that is cut off is
            nobody else's.
        unpriced: Lines that are in neither sum, as they have no known price.
        reason: Why the first of them has none.
    """

    lines: int = 0
    is_exact: bool = True
    hits: int = 0
    repeats: int = 0
    calls: int = 0
    input_tokens: int = 0
    called_input_tokens: int = 0
    output_tokens: int = 0
    expected_units: int = 0
    most_nanos: int = 0
    unpriced: int = 0
    reason: str = ""

    @property
    def expected_nanos(self) -> int:
        """What the calls are expected to cost."""
        return divide_half_even(self.expected_units, RATES_PER_NANO)

    def add(self, other: "Tally") -> None:
        """Add others."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.is_exact &= other.is_exact
        self.reason = self.reason or other.reason


_SUMS = (
    "lines",
    "hits",
    "repeats",
    "calls",
    "input_tokens",
    "called_input_tokens",
    "output_tokens",
    "expected_units",
    "most_nanos",
    "unpriced",
)


class Teller:
    """Adds requests to the tally of one model and type.

    Args:
        forecast: What to expect of its answers.
    """

    def __init__(
        self, *, provider: str, model: str, bounds: Bounds, pricer: Pricer, forecast: Forecast
    ) -> None:
        self.tally = Tally()
        self.model = model
        self.forecast = forecast
        self._provider = provider
        self._bounds = bounds
        self._tariff = pricer.tariff(provider=provider, model=model)

    def add(self, endpoint: Endpoint, body: Mapping[str, Any], *, is_hit: bool, is_repeat: bool) -> None:
        """Add one request.

        Args:
            body: With the model that it asks.
        """
        tally, bound = self.tally, self._bound(endpoint, body)
        tokens = bound.input_tokens
        if not bound.is_exact:
            tokens = count_request(self.model, endpoint, body).tokens
            tally.is_exact = False
        output_tokens = self.forecast.expected_output(bound.output_tokens, answer_count(endpoint, body))
        tally.lines += 1
        tally.input_tokens += tokens
        if is_hit:
            tally.hits += 1
        elif is_repeat:
            tally.repeats += 1
        else:
            tally.calls += 1
            tally.called_input_tokens += tokens
            tally.output_tokens += output_tokens
        self._add_money(bound, tokens, output_tokens, is_call=not (is_hit or is_repeat))

    def _add_money(self, bound: Bound, tokens: int, output_tokens: int, *, is_call: bool) -> None:
        tally = self.tally
        units = self._units(tokens, output_tokens)
        if bound.nanos is None or units is None:
            tally.unpriced += 1
            tally.reason = tally.reason or bound.reason or Unpriced.UNPRICED_TOKENS
            return
        tally.most_nanos += bound.nanos
        if is_call:
            tally.expected_units += units

    def _bound(self, endpoint: Endpoint, body: Mapping[str, Any]) -> Bound:
        return self._bounds.bound(
            provider=self._provider,
            model=self.model,
            endpoint=endpoint,
            body=orjson.dumps(body),
            parsed=body,
        )

    def _units(self, input_tokens: int, output_tokens: int) -> int | None:
        """What a call is expected to cost: plain text, nothing of it from the provider's cache."""
        if isinstance(self._tariff, Unpriced):
            return None
        rates = self._tariff.rates_at(input_tokens) if isinstance(self._tariff, Tariff) else self._tariff
        if rates.input is None or (rates.output is None and output_tokens):
            return None
        return rates.request + input_tokens * rates.input + output_tokens * (rates.output or 0)
