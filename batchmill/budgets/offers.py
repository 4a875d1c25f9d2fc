"""Offers: how a request may be answered, and what that can cost; as it asks, or by a cheaper model that would do."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from batchmill.catalogue.entries import Capability, ModelEntry
from batchmill.money.bounds import Bounds
from batchmill.requests.model import Endpoint
from batchmill.requests.work import Bounded, Candidate, Job, Send
from batchmill.routing.needs import capabilities_needed

MOST_CHEAPER = 5
_WRITES_TEXT = (Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.COMPLETIONS)
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


class CallOffers:
    """Makes the offers of one process. Not shared between threads."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._models: Sequence[ModelEntry] = ()

    def set_models(self, models: Sequence[ModelEntry]) -> None:
        """Offer these models, as the catalogue has them, where a cheaper one is wanted."""
        self._models = models

    def asked(self, job: Job, provider: str, bounded: Bounded) -> Send:
        """The call that a line asks for; with what it can cost at most, found out so closely."""
        if bounded is Bounded.NOT:
            return Send(job=job, asked=Candidate(provider=provider, model=job.model, body=job.body))
        return Send(job=job, asked=self._candidate(job, provider, job.model, job.body, bounded)[0])

    def with_cheaper(self, send: Send) -> Send:
        """The same with every cheaper model that would do: of the same provider, active, able to do what is asked.

        The dearest comes first; of many the cheapest is always among them. Vectors of another model are no vectors of
        this one, so embeddings have none.
        """
        job, asked = send.job, send.asked
        if asked.bounded is Bounded.ROUGHLY:
            asked = self.asked(job, asked.provider, Bounded.CLOSELY).asked
        cheaper: list[Candidate] = []
        if job.batch.endpoint in _WRITES_TEXT and asked.hold_nanos is not None:
            body = orjson.loads(job.body)
            needs = capabilities_needed(job.batch.endpoint, body)
            for entry in self._models:
                if self._would_do(entry, asked, needs, body):
                    named = orjson.dumps(body | {"model": entry.model})
                    candidate, tokens = self._candidate(job, asked.provider, entry.model, named)
                    is_cheaper = candidate.hold_nanos is not None and candidate.hold_nanos < asked.hold_nanos
                    if is_cheaper and tokens <= (entry.context_tokens or tokens):
                        cheaper.append(candidate)
        cheaper.sort(key=lambda candidate: -(candidate.hold_nanos or 0))
        if len(cheaper) > MOST_CHEAPER:
            cheaper = [*cheaper[: MOST_CHEAPER - 1], cheaper[-1]]
        return Send(job=job, asked=asked, cheaper=tuple(cheaper))

    def _candidate(
        self, job: Job, provider: str, model: str, body: bytes, bounded: Bounded = Bounded.CLOSELY
    ) -> tuple[Candidate, int]:
        """A candidate, and how many tokens it may come to."""
        bound = self.bounds.bound(
            provider=provider,
            model=model,
            endpoint=job.batch.endpoint,
            body=body,
            is_rough=bounded is Bounded.ROUGHLY,
        )
        candidate = Candidate(
            provider=provider, model=model, body=bound.body, bounded=bounded, hold_nanos=bound.nanos
        )
        return candidate, bound.input_tokens + bound.output_tokens

    def _would_do(
        self, entry: ModelEntry, asked: Candidate, needs: frozenset[Capability], body: Mapping[str, Any]
    ) -> bool:
        wanted = max((body[name] for name in _LIMITS if isinstance(body.get(name), int)), default=0)
        return (
            entry.is_active
            and entry.provider == asked.provider
            and entry.model != asked.model
            and needs <= entry.capabilities
            and wanted <= (entry.output_cap_tokens or wanted)
        )
