"""What the requests to one model of one type add up to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from batchmill.money.bounds import Bounds, Model
from batchmill.money.expected import expected_units
from batchmill.money.list_prices import Tariff
from batchmill.money.nanos import divide_half_even
from batchmill.money.prices import Pricer
from batchmill.money.rates import RATES_PER_NANO, Rates, Unpriced
from batchmill.quotes.forecast import Forecast, Forecaster
from batchmill.requests.model import Endpoint
from batchmill.tokens.count import count_request
from batchmill.tokens.most_output import answer_count

_MOST_KINDS = 4_096


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
        most_nanos: What all lines can cost at most, one call each, to the dearest of the models that it may go to: hits
            may expire, an answer that is cut off is nobody else's.
        unpriced: Lines that are in neither sum, as they have no known price.
        reason: Why the first of them has none.
        most_nanos_by_other: By model: what the lines that may go there instead can cost there at most.
        unpriced_others: Lines that may go to a model without a known price instead; what they cost there is not in
            `most_nanos`.
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
    most_nanos_by_other: dict[Model, int] = field(default_factory=dict)
    unpriced_others: int = 0

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
        for model, nanos in other.most_nanos_by_other.items():
            self._add_other(model, nanos)

    def add_most(self, nanos: int, others: Mapping[Model, int | None]) -> None:
        """Add what one line can cost at most: where it goes, and at each model that it may go to instead.

        Args:
            others: None for one without a known price.
        """
        known = {model: there for model, there in others.items() if there is not None}
        self.most_nanos += max([nanos, *known.values()])
        self.unpriced_others += len(known) < len(others)
        for model, there in known.items():
            self._add_other(model, there)

    def _add_other(self, model: Model, nanos: int) -> None:
        self.most_nanos_by_other[model] = self.most_nanos_by_other.get(model, 0) + nanos


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
    "unpriced_others",
)


class Question(NamedTuple):
    """A request to be tallied.

    Attributes:
        body: As JSON, with the model that it asks.
        is_hit: The cache has an answer.
        is_repeat: One before it asks the same.
        others: The models that it may be put to instead.
    """

    provider: str
    model: str
    request_type: str
    endpoint: Endpoint
    body: bytes
    is_hit: bool
    is_repeat: bool
    others: tuple[Model, ...] = ()


Kind = tuple[str, str, str]
"""Provider, model and request type."""
Tallies = dict[Kind, Tally]


class Teller:
    """Tallies requests. Not shared between threads."""

    def __init__(self, *, bounds: Bounds, pricer: Pricer, forecaster: Forecaster) -> None:
        self._bounds = bounds
        self._pricer = pricer
        self._forecaster = forecaster
        self._rules: dict[Kind, tuple[Forecast, Rates | Tariff | Unpriced]] = {}

    def tally(self, questions: Iterable[Question]) -> Tallies:
        """What these requests add up to, by provider, model and type in order of appearance."""
        tallies: Tallies = {}
        for question in questions:
            kind = question.provider, question.model, question.request_type
            tally = tallies.get(kind)
            if tally is None:
                tally = tallies[kind] = Tally()
            self._add(tally, kind, question)
        return tallies

    def _add(self, tally: Tally, kind: Kind, question: Question) -> None:
        model, endpoint, body = question.model, question.endpoint, orjson.loads(question.body)
        forecast, tariff = self._rules.get(kind) or self._learn(kind)
        bound = self._bounds.bound(
            provider=question.provider, model=model, endpoint=endpoint, body=question.body, parsed=body
        )
        tokens = bound.input_tokens
        if not bound.is_exact:
            tokens = min(count_request(model, endpoint, body).tokens, tokens)  # estimates lean high
            tally.is_exact = False
        output_tokens = forecast.expected_output(bound.output_tokens, answer_count(endpoint, body))
        tally.lines += 1
        tally.input_tokens += tokens
        is_call = not (question.is_hit or question.is_repeat)
        if is_call:
            tally.calls += 1
            tally.called_input_tokens += tokens
            tally.output_tokens += output_tokens
        elif question.is_hit:
            tally.hits += 1
        else:
            tally.repeats += 1
        units = expected_units(tariff, tokens, output_tokens)
        if bound.nanos is None or units is None:
            tally.unpriced += 1
            tally.reason = tally.reason or bound.reason or Unpriced.UNPRICED_TOKENS
        else:
            others = {other: self._most_nanos(other, endpoint, body) for other in question.others}
            tally.add_most(bound.nanos, others)
            tally.expected_units += units if is_call else 0

    def _most_nanos(self, other: Model, endpoint: Endpoint, body: dict[str, Any]) -> int | None:
        """What a request can cost at most at another model than it asks; None when no price is known."""
        provider, model = other
        body = body | {"model": model}
        raw = orjson.dumps(body)
        return self._bounds.bound(
            provider=provider, model=model, endpoint=endpoint, body=raw, parsed=body
        ).nanos

    def _learn(self, kind: Kind) -> tuple[Forecast, Rates | Tariff | Unpriced]:
        if len(self._rules) >= _MOST_KINDS:  # both names come from producers: never without end
            self._rules.clear()
        provider, model, request_type = kind
        self._rules[kind] = (
            self._forecaster.forecast(provider, model, request_type),
            self._pricer.tariff(provider=provider, model=model),
        )
        return self._rules[kind]
