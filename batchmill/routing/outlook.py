"""The outlook: what is known of models at the moment a request for any of them comes, by which it is decided."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from batchmill.catalogue.entries import ModelEntry
from batchmill.money.expected import expected_nanos
from batchmill.money.prices import Pricer
from batchmill.providers.base import DEFAULT_OUTPUT_CAP_TOKENS
from batchmill.quotes.forecast import Experiences, Forecaster
from batchmill.requests.model import Endpoint
from batchmill.requests.work import Job
from batchmill.routing.filters import OwnLatency, Situation
from batchmill.tokens.count import count_request
from batchmill.tokens.most_output import answer_count, own_limit

ANY_MODEL = "gpt-4o"
"""By whose tokens a request is measured that names no model; other vendors count up to a tenth more."""
_MORE = 1.1
_WRITES_TEXT = (Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.COMPLETIONS)

OpenCircuits = Callable[[], Mapping[tuple[str, str], int]]
"""Until when each model that does not answer is left alone, in ms; by provider and model."""


class Size(NamedTuple):
    """How large a request is, by what its cost is foreseen.

    Attributes:
        tokens: Of its input, as `ANY_MODEL` counts them.
        most_output: The most tokens that its answers may have together; 0 when it does not say.
        answers: How many texts it asks for; 0 where it asks for none, but vectors for instance.
    """

    tokens: int
    most_output: int
    answers: int


def size_of(endpoint: Endpoint, body: Mapping[str, Any]) -> Size:
    """How large a request is."""
    answers = answer_count(endpoint, body) if endpoint in _WRITES_TEXT else 0
    tokens = count_request(ANY_MODEL, endpoint, body).tokens
    return Size(tokens, (own_limit(endpoint, body) or 0) * answers, answers)


class Outlook:
    """Makes the situations of one process. Not shared between threads.

    Args:
        providers: Those that can be called here.
        endpoints: What a provider serves; one that is not in it serves all.
        output_cap_tokens: The longest answer that is allowed for where neither the request nor the catalogue says one.
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
        output_cap_tokens: int = DEFAULT_OUTPUT_CAP_TOKENS,
        open_circuits: OpenCircuits = dict,
    ) -> None:
        self.open_circuits = open_circuits
        self.is_wanted = False
        self._pricer = pricer
        self._providers = providers
        self._endpoints = endpoints
        self._now_ms = now_ms
        self._output_cap_tokens = output_cap_tokens
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

    def situation(self, job: Job, body: Mapping[str, Any]) -> Situation:
        """What the choice of a model for a request goes by."""
        return self.situation_of(size_of(job.batch.endpoint, body), job.request_type)

    def situation_of(self, size: Size, request_type: str) -> Situation:
        """The same for any request of that size."""
        self.is_wanted = True
        tokens, most_output, answers = size

        def cost_nanos(model: ModelEntry) -> int | None:
            forecast = self._forecaster.forecast(model.provider, model.model, request_type)
            # Without a limit anywhere an answer is still written, and a model of unknown cap is not free for that.
            cap_tokens = model.output_cap_tokens or self._output_cap_tokens
            output = forecast.expected_output(most_output or cap_tokens * answers, answers)
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
