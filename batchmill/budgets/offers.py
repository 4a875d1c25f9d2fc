"""Offers: how a request may be answered, and what that can cost; as it asks, or by a cheaper model that would do."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from batchmill.cache.keys import RequestKeys
from batchmill.catalogue.entries import Capability, ModelEntry
from batchmill.money.bounds import Bounds
from batchmill.requests.model import Endpoint
from batchmill.requests.work import Bounded, Candidate, Job, Send
from batchmill.routing.names import Target
from batchmill.routing.needs import capabilities_needed
from batchmill.routing.router import body_for
from batchmill.routing.upstreams import NOWHERE, Upstreams

MOST_CHEAPER = 5
_MOST_KEPT = 1_000
_WRITES_TEXT = (Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.COMPLETIONS)
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


class CallOffers:
    """Makes the offers of one process. Not shared between threads.

    Args:
        upstreams: Where providers are called: part of what a question to another model is known by.
    """

    def __init__(self, bounds: Bounds, upstreams: Upstreams = NOWHERE) -> None:
        self.bounds = bounds
        self._upstreams = upstreams
        self._models: Sequence[ModelEntry] = ()
        self._keys: dict[tuple[str, str, Endpoint], RequestKeys] = {}

    def set_models(self, models: Sequence[ModelEntry]) -> None:
        """Offer these models, as the catalogue has them, where a cheaper one is wanted."""
        self._models = models

    def offer(
        self, job: Job, target: Target, bounded: Bounded, *, has_next: bool = False, is_lone: bool = True
    ) -> Send:
        """The call that puts a request to a model; with what it can cost at most, found out so closely."""
        body = body_for(job, target)
        if bounded is Bounded.NOT:
            asked = Candidate(
                provider=target.provider,
                model=target.model,
                body=body,
                cache_key=self._own_key(job, target, body),
            )
        else:
            asked, _ = self._candidate(job, target, body, bounded)
        return Send(job=job, asked=asked, has_next=has_next, is_lone=is_lone)

    def with_cheaper(self, send: Send) -> Send:
        """The same with every cheaper model that would do: of the same provider, active, able to do what is asked, not
        given up for the request.

        The dearest comes first; of many the cheapest is always among them. Vectors of another model are no vectors of
        this one, so embeddings have none.
        """
        job, asked = send.job, send.asked
        if asked.bounded is Bounded.ROUGHLY:
            target = Target(provider=asked.provider, model=asked.model)
            asked = self.offer(job, target, Bounded.CLOSELY).asked
        cheaper: list[Candidate] = []
        endpoint = job.batch.endpoint
        if endpoint in _WRITES_TEXT and asked.hold_nanos is not None:
            body = orjson.loads(job.body)
            needs = capabilities_needed(endpoint, body)
            given_up = job.path.given_up
            for entry in self._models:
                if self._would_do(entry, asked, needs, body):
                    target = Target(provider=entry.provider, model=entry.model)
                    if target in given_up:
                        continue
                    candidate, tokens = self._candidate(job, target, body_for(job, target))
                    is_cheaper = candidate.hold_nanos is not None and candidate.hold_nanos < asked.hold_nanos
                    if is_cheaper and tokens <= (entry.context_tokens or tokens):
                        cheaper.append(candidate)
        cheaper.sort(key=lambda candidate: -(candidate.hold_nanos or 0))
        if len(cheaper) > MOST_CHEAPER:
            cheaper = [*cheaper[: MOST_CHEAPER - 1], cheaper[-1]]
        return replace(send, asked=asked, cheaper=tuple(cheaper))

    def _candidate(
        self, job: Job, target: Target, body: bytes, bounded: Bounded = Bounded.CLOSELY
    ) -> tuple[Candidate, int]:
        """A candidate, and how many tokens it may come to."""
        bound = self.bounds.bound(
            provider=target.provider,
            model=target.model,
            endpoint=job.batch.endpoint,
            body=body,
            is_rough=bounded is Bounded.ROUGHLY,
        )
        candidate = Candidate(
            provider=target.provider,
            model=target.model,
            body=bound.body,
            bounded=bounded,
            cache_key=self._own_key(job, target, body),
            hold_nanos=bound.nanos,
        )
        return candidate, bound.input_tokens + bound.output_tokens

    def _own_key(self, job: Job, target: Target, body: bytes) -> str | None:
        """What the question is known by when it is put to a model that it does not name; see `Candidate.cache_key`."""
        if job.cache_key is None or (job.provider, job.model) == (target.provider, target.model):
            return None
        kind = (job.batch.tenant, target.provider, job.batch.endpoint)
        keys = self._keys.get(kind)
        if keys is None:
            if len(self._keys) >= _MOST_KEPT:
                self._keys.clear()
            upstream = self._upstreams.of(target.provider)
            keys = self._keys[kind] = RequestKeys(tenant=kind[0], upstream=upstream, endpoint=kind[2])
        return keys.key(orjson.loads(body)).hex()

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
