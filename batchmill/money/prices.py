"""What an answer cost: the provider's own word, else the owner's price, else the public list."""

from dataclasses import dataclass

from batchmill.clock import Clock, SystemClock
from batchmill.money.list_prices import ListPrices, Tariff
from batchmill.money.nanos import nanos_from_usd
from batchmill.money.owner_prices import OwnerPrices
from batchmill.money.rates import Rates, Unpriced, is_consistent
from batchmill.money.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What something cost.

    Attributes:
        nanos: None when it is not known; 0 only when it is known to be free.
        reason: Why it is not known, an `Unpriced`; "" when it is.
    """

    nanos: int | None
    reason: str = ""


class Pricer:
    """Prices answers. One per process; not shared between threads.

    Honest weakness: what our usage does not count (web searches, tool containers) and the service tier a call
    was served in are not in the price, unless the provider reports the cost itself.
    """

    def __init__(self, owner_prices: OwnerPrices | None = None, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._owner_prices: OwnerPrices = owner_prices or {}
        self._list_prices = ListPrices()

    def set_owner_prices(self, owner_prices: OwnerPrices) -> None:
        """Go by these prices of the owner from the next answer on."""
        self._owner_prices = owner_prices

    def tariff(self, *, provider: str, model: str) -> Rates | Tariff | Unpriced:
        """Return what a model costs now, or why that is not known. Never raises."""
        try:
            return self._tariff(provider, model, native_batch=False, at_ms=None)
        except Exception:  # the list raises what it likes
            return Unpriced.PRICING_ERROR

    def price(
        self,
        *,
        provider: str,
        model: str,
        usage: Usage | None,
        requests: int = 1,
        native_batch: bool = False,
        at_ms: int | None = None,
    ) -> Cost:
        """Return what an answer cost, rounded once; an unknown cost is None with its reason. Never raises.

        Args:
            provider: Our name for the provider, `openai` for instance.
            usage: What was used, over all `requests` together; None when the answer does not say.
            requests: How many calls the usage is of, for providers that charge by the call.
            native_batch: Whether the provider ran it in its own batch API, mostly at half price.
            at_ms: When the call was made, in Unix milliseconds; None is now.
        """
        try:
            cost = self._nanos(provider, model, usage, requests, native_batch, at_ms)
        except Exception:  # the list raises what it likes, and a price never fails a request
            cost = Unpriced.PRICING_ERROR
        return Cost(nanos=None, reason=cost) if isinstance(cost, Unpriced) else Cost(nanos=cost)

    def _nanos(
        self,
        provider: str,
        model: str,
        usage: Usage | None,
        requests: int,
        native_batch: bool,
        at_ms: int | None,
    ) -> int | Unpriced:
        if requests < 0:
            return Unpriced.INVALID_USAGE
        reported = None if usage is None else _reported_nanos(usage)
        if reported is not None:
            return reported
        tariff = self._tariff(provider, model, native_batch, at_ms)
        if isinstance(tariff, Unpriced):
            return tariff
        if usage is not None and is_consistent(usage) and (usage.input_tokens or usage.output_tokens):
            return tariff.nanos(usage, requests)
        fixed = tariff.nanos_without_usage(requests)
        return _why_unusable(usage) if fixed is None else fixed

    def _tariff(
        self, provider: str, model: str, native_batch: bool, at_ms: int | None
    ) -> Rates | Tariff | Unpriced:
        owner_price = self._owner_prices.get((provider, model))
        if owner_price is None:
            at_ms = self._clock.now_ms() if at_ms is None else at_ms
            return self._list_prices.tariff(provider, model, native_batch=native_batch, at_ms=at_ms)
        rates = owner_price.native_batch if native_batch else owner_price.standard
        return Unpriced.UNSUPPORTED_PRICE_CONTEXT if rates is None else rates


def _why_unusable(usage: Usage | None) -> Unpriced:
    """Tell why a usage is no basis for a cost. No call uses nothing, so counts of 0 were left blank."""
    return Unpriced.NO_USAGE if usage is None or is_consistent(usage) else Unpriced.INVALID_USAGE


def _reported_nanos(usage: Usage) -> int | None:
    """Return what the provider says it cost; None when it does not say, or nothing that can be an amount."""
    if usage.reported_cost_usd is None:
        return None
    try:
        nanos = nanos_from_usd(usage.reported_cost_usd)
    except (TypeError, ValueError):
        return None
    return nanos if nanos >= 0 else None
