"""The most that a call can cost, known before it is made: what a budget holds for it.

Input is counted to the token where that is exact and else bounded by its bytes (`batchmill.tokens.most_input`);
output by the request's own limit, times the answers asked for, and a prediction of it that may be rejected. A
request without a limit has the model's cap, from the catalogue or the models that are shipped; a model without a known
cap has ours, which is then sent along. Anthropic is always told a limit: the lower of the two, and that is held. Each
side counts at the dearest price that it may be charged at, in every price tier that the input may reach.

Honest weaknesses: prices are those of now, so a model that is cheaper by night may be charged by day; a service
tier (`service_tier`: "priority" costs more) and fees of hosted tools are in no price; a provider that reports its
own cost may report more. Such a call is an overrun, which raises the bounds of its model (`Bounds.set_percents`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import orjson

from batchmill.catalogue.shipped import read_shipped
from batchmill.money.list_prices import Tariff
from batchmill.money.nanos import divide_half_even
from batchmill.money.prices import Pricer
from batchmill.money.rates import RATES_PER_NANO, Rates, Unpriced
from batchmill.providers.names import ProviderName
from batchmill.requests.model import Endpoint
from batchmill.tokens.most_input import most_input, most_input_by_bytes
from batchmill.tokens.most_output import (
    answer_count,
    answers_with_text,
    known_cap,
    most_rejected,
    own_limit,
    with_limit,
)

MOST_NANOS = 10**18
"""A billion dollars: no call costs more, and several of them still add up within the numbers of a database."""
MOST_TOKENS = 10**12
"""A trillion: a request whose numbers say more than that is nobody's to answer, and sums stay within 64 bits."""
NO_INPUT = -1
_MOST_MODELS = 4_096

Model = tuple[str, str]
"""Provider and model."""


class Bound(NamedTuple):
    """The most that a call can cost. A tuple, as one is made for every call.

    Attributes:
        nanos: None when no price is known; 0 for what is free.
        reason: Why no price is known, an `Unpriced`; "" when one is.
        input_tokens: The most that it can take in.
        output_tokens: The most that it can give out, over all answers asked for.
        body: What is to be sent: the request's own body, or that with the output limit that it lacked.
        is_exact: `input_tokens` is the very number.
    """

    nanos: int | None
    input_tokens: int
    output_tokens: int
    body: bytes
    reason: str = ""
    is_exact: bool = False


class _Extent(NamedTuple):
    """How much a call may use, and of which kinds beyond plain text."""

    input_tokens: int
    output_tokens: int
    is_cached_long: bool
    has_audio_input: bool
    has_audio_output: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """The dearest rates of one price tier, in the units of `Rates`; None where there is no price.

    Attributes:
        beyond: The input tokens beyond which it counts.
        long_cache_input: When some of it may be kept in the provider's cache for an hour or more.
    """

    beyond: int
    input: int | None
    long_cache_input: int | None
    audio_input: int | None
    output: int | None
    audio_output: int | None
    request: int

    def units(self, extent: _Extent) -> int | None:
        """The most that it costs in this tier; None when a kind of it has no price."""
        input_rate = self.long_cache_input if extent.is_cached_long else self.input
        if extent.has_audio_input:
            input_rate = _dearest(self.audio_input, input_rate)
        output_rate = self.audio_output if extent.has_audio_output else self.output
        if input_rate is None or (output_rate is None and extent.output_tokens):
            return None
        return self.request + extent.input_tokens * input_rate + extent.output_tokens * (output_rate or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What bounds the calls of one model.

    Attributes:
        tariff: What `steps` were made of.
        steps: Its price tiers, or why there are none.
        cap: The longest answer in tokens, where it is known.
        percent: What its bounds are raised to.
        are_long_caches_dearer: It matters whether some of the input is kept for an hour.
    """

    tariff: Rates | Tariff | Unpriced
    steps: tuple[_Step, ...] | Unpriced
    cap: int | None
    percent: int
    are_long_caches_dearer: bool


class Bounds:
    """Finds the most that calls can cost. One per process, not shared between threads. Never raises.

    Args:
        output_cap_tokens: Longest answer where neither request nor model has a limit.
        caps: Most output tokens by model, as the catalogue has them.
        percents: Hundredths by which the bounds of a model that was dearer than its bound are raised, from 100.
    """

    def __init__(
        self,
        pricer: Pricer,
        *,
        output_cap_tokens: int,
        caps: Mapping[Model, int] | None = None,
        percents: Mapping[Model, int] | None = None,
    ) -> None:
        self._pricer = pricer
        self._output_cap_tokens = output_cap_tokens
        self._caps = caps or {}
        self._percents = percents or {}
        self._terms: dict[Model, _Terms] = {}

    def set_caps(self, caps: Mapping[Model, int]) -> None:
        """Go by these caps of the catalogue from the next call on."""
        self._caps = caps
        self._terms.clear()

    def set_percents(self, percents: Mapping[Model, int]) -> None:
        """Raise the bounds of these models from the next call on."""
        self._percents = percents
        self._terms.clear()

    def bound(
        self,
        *,
        provider: str,
        model: str,
        endpoint: Endpoint,
        body: bytes,
        parsed: Mapping[str, Any] | None = None,
        is_rough: bool = False,
    ) -> Bound:
        """Return the most that a call can cost, and the body that keeps it to that.

        Args:
            body: A JSON object, as the request has it.
            parsed: The same as an object, where it is at hand.
            is_rough: Go by bytes even where the input could be counted: too much, in a third of the time.
        """
        try:
            return self._bound((provider, model), endpoint, body, parsed or orjson.loads(body), is_rough)
        except Exception:  # a body that is none, a list of prices that fails: a bound never fails a request
            return Bound(
                nanos=None, reason=Unpriced.PRICING_ERROR, input_tokens=len(body), output_tokens=0, body=body
            )

    def _bound(
        self, key: Model, endpoint: Endpoint, raw: bytes, body: Mapping[str, Any], is_rough: bool
    ) -> Bound:
        terms = self._terms_of(key)
        given = (most_input_by_bytes if is_rough else most_input)(key[1], endpoint, body, len(raw))
        longest, is_ours = self._longest_answer(key[0], terms.cap, endpoint, body)
        output_tokens = longest * answer_count(endpoint, body)
        if "prediction" in body:
            output_tokens += most_rejected(endpoint, body)
        output_tokens = min(output_tokens, MOST_TOKENS)
        extent = _Extent(
            given.tokens,
            output_tokens,
            terms.are_long_caches_dearer and _may_be_cached_long(raw),
            given.has_audio,
            "modalities" in body and _speaks(body["modalities"]),
        )
        nanos = _dearest_nanos(terms.steps, extent)
        if isinstance(nanos, Unpriced):
            return Bound(None, given.tokens, output_tokens, raw, nanos, given.is_exact)
        nanos = min(-(-nanos * terms.percent // 100), MOST_NANOS)
        if is_ours and nanos and _output_costs(terms.steps):
            raw = with_limit(endpoint, key[1], raw, body, longest)
        return Bound(nanos, given.tokens, output_tokens, raw, "", given.is_exact)

    def _longest_answer(
        self, provider: str, cap: int | None, endpoint: Endpoint, body: Mapping[str, Any]
    ) -> tuple[int, bool]:
        """The longest answer in tokens, and whether nobody but us limits it to that."""
        if not answers_with_text(endpoint):
            return 0, False
        limit = own_limit(endpoint, body)
        if limit is not None:
            return (limit if cap is None else min(limit, cap)), False
        if provider == ProviderName.ANTHROPIC:
            return min(self._output_cap_tokens, cap or self._output_cap_tokens), True
        return (self._output_cap_tokens, True) if cap is None else (cap, False)

    def _terms_of(self, key: Model) -> _Terms:
        tariff = self._pricer.tariff(provider=key[0], model=key[1])
        terms = self._terms.get(key)
        if terms is not None and terms.tariff is tariff:  # another price is another object
            return terms
        if len(self._terms) >= _MOST_MODELS:  # model names come from producers: never without end
            self._terms.clear()
        terms = self._terms[key] = self._learn(key, tariff)
        return terms

    def _learn(self, key: Model, tariff: Rates | Tariff | Unpriced) -> _Terms:
        steps = tariff if isinstance(tariff, Unpriced) else _steps(tariff)
        return _Terms(
            tariff=tariff,
            steps=steps,
            cap=self._caps.get(key) or _shipped_caps().get(key) or known_cap(key[1]),
            percent=self._percents.get(key, 100),
            are_long_caches_dearer=not isinstance(steps, Unpriced)
            and any(step.long_cache_input != step.input for step in steps),
        )


@cache
def _shipped_caps() -> Mapping[Model, int]:
    return {entry.key: entry.output_cap_tokens for entry in read_shipped().entries if entry.output_cap_tokens}


def _may_be_cached_long(raw: bytes) -> bool:
    return b'"cache_control"' in raw or b'"prompt_cache_retention"' in raw


def _speaks(modalities: Any) -> bool:
    return isinstance(modalities, list) and "audio" in modalities


def _steps(tariff: Rates | Tariff) -> tuple[_Step, ...]:
    if isinstance(tariff, Rates):
        return (_step(NO_INPUT, tariff),)
    return (_step(NO_INPUT, tariff.rates), *(_step(beyond, rates) for beyond, rates in tariff.tiers))


def _step(beyond: int, rates: Rates) -> _Step:
    # Newer models of OpenAI write to their cache unasked, and charge for it.
    plain = _dearest(rates.input, rates.cached, rates.cache_write_5m)
    output = _dearest(rates.output, rates.reasoning)
    return _Step(
        beyond=beyond,
        input=plain,
        long_cache_input=_dearest(plain, rates.cache_write_1h),
        audio_input=None if rates.audio_input is None else _dearest(plain, rates.audio_input),
        output=output,
        audio_output=None if rates.audio_output is None else _dearest(output, rates.audio_output),
        request=rates.request,
    )


def _dearest(plain: int | None, *others: int | None) -> int | None:
    """The dearest rate; None when there is none for what is plain, without which nothing has a price."""
    return None if plain is None else max([plain, *(other for other in others if other is not None)])


def _output_costs(steps: tuple[_Step, ...] | Unpriced) -> bool:
    """Whether a longer answer costs more."""
    return not isinstance(steps, Unpriced) and any(step.output or step.audio_output for step in steps)


def _dearest_nanos(steps: tuple[_Step, ...] | Unpriced, extent: "_Extent") -> int | Unpriced:
    """The most that it can cost in any tier that it may reach."""
    if isinstance(steps, Unpriced):
        return steps
    most = 0
    for step in steps:
        if extent.input_tokens > step.beyond:
            units = step.units(extent)
            if units is None:
                return Unpriced.UNPRICED_TOKENS
            most = max(most, units)
    return divide_half_even(most, RATES_PER_NANO)  # as costs are rounded, so that the larger is never below
