"""The outlook: what is known of models at the moment a request for any of them comes, by which it is decided."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from batchmill.catalogue.entries import ModelEntry
from batchmill.money.expected import expected_nanos
from batchmill.money.prices import Pricer
from batchmill.quotes.forecast import Experiences, Forecaster
from batchmill.requests.model import Endpoint
from batchmill.routing.filters import OwnLatency, Situation
from batchmill.tokens.count import count_request
from batchmill.tokens.most_output import answer_count, own_limit

ANY_MODEL = "gpt-4o"
"""By whose tokens a request is measured that names no model; other vendors count up to a tenth more."""
_MORE = 1.1

OpenCircuits = Callable[[], Mapping[tuple[str, str], int]]
"""Until when each model that does not answer is left alone, in ms; by provider and model."""


class Outlook:
    """Makes the situations of one process. Not shared between threads.

    Args:
        providers: Those that can be called here.
        endpoints: What a provider serves; one that is not in it serves all.
        open_circuits: The models that are left alone.

    Attributes:
        is_wanted: A request for any model has come: experience is worth being read.
    """

    def __init__(
        self,
        pricer: Pricer,
        *,
        providers: Collection[str],
        endpoints: Mapping[str, Collection[Endpoint]],
        now_ms: Callable[[], int],
        open_circuits: OpenCircuits = dict,
    ) -> None:
        self.open_circuits = open_circuits
        self.is_wanted = False
        self._pricer = pricer
        self._providers = providers
        self._endpoints = endpoints
        self._now_ms = now_ms
        self._forecaster = Forecaster(experiences={}, latencies_ms={})
        self._latencies: Mapping[tuple[str, str], OwnLatency] = {}

    def set_experiences(self, experiences: Experiences) -> None:
        """Go by these calls of our own."""
        self._forecaster = Forecaster(experiences=experiences, latencies_ms={})
        self._latencies = {
            (provider, model): OwnLatency(calls=known.calls, latency_ms=known.latency_ms)
            for (provider, model, request_type), known in experiences.items()
            if request_type is None
        }

    def situation(self, endpoint: Endpoint, body: Mapping[str, Any], request_type: str) -> Situation:
        """What the choice of a model for a request goes by."""
        self.is_wanted = True
        tokens = count_request(ANY_MODEL, endpoint, body).tokens
        most_output = (own_limit(endpoint, body) or 0) * answer_count(endpoint, body)

        def cost_nanos(model: ModelEntry) -> int | None:
            forecast = self._forecaster.forecast(model.provider, model.model, request_type)
            output = forecast.expected_output(
                most_output or model.output_cap_tokens or most_output, answer_count(endpoint, body)
            )
            tariff = self._pricer.tariff(provider=model.provider, model=model.model)
            return expected_nanos(tariff, tokens, output)

        return Situation(
            now_ms=self._now_ms(),
            providers=self._providers,
            most_tokens=lambda _: int(tokens * _MORE) + most_output,
            expected_nanos=cost_nanos,
            endpoints=self._endpoints,
            open_until_ms=self.open_circuits(),
            latencies=self._latencies,
        )
