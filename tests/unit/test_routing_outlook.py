"""The outlook: what the choice of a model goes by."""

from collections.abc import Mapping
from typing import Any

import pytest

from batchmill.catalogue.entries import Capability, ModelEntry, Tier
from batchmill.catalogue.prices import ModelPrices
from batchmill.money.prices import Pricer
from batchmill.requests.model import CacheMode, Endpoint, Lane, OnUnknown
from batchmill.requests.work import BatchFacts, Job
from batchmill.routing.outlook import Outlook

OWN = ModelPrices(input_nanos_per_mtok=1_000_000_000, output_nanos_per_mtok=4_000_000_000)
QUESTION = {"messages": [{"role": "user", "content": "What is a mill?"}]}


def entry(model: str, **fields: Any) -> ModelEntry:
    """A model at the same price as all others here."""
    return ModelEntry(provider="openai", model=model, tier=Tier.CHEAP, prices=OWN, **fields)


def asking(endpoint: Endpoint = Endpoint.CHAT) -> Job:
    """A request for any model."""
    batch = BatchFacts(
        id=1,
        public_id="batch_1",
        lane=Lane.NORMAL,
        endpoint=endpoint,
        tenant="local",
        user="",
        agent="",
        request_type="",
        cache=CacheMode.AUTO,
        on_unknown=OnUnknown.RETRY,
        started_ms=0,
    )
    return Job(request_id=1, batch=batch, claim_id=1, cache_key=None, provider="", model="auto")


def expected(models: list[ModelEntry], body: Mapping[str, Any], endpoint: Endpoint) -> list[int | None]:
    """What the answers of these models are expected to cost."""
    pricer = Pricer({model.key: OWN.owner_price() for model in models})
    outlook = Outlook(pricer, providers={"openai"}, endpoints={}, now_ms=lambda: 0)
    here = outlook.situation(asking(endpoint), body)
    return [here.expected_nanos(model) for model in models]


@pytest.mark.parametrize("limit", [{}, {"max_tokens": 500}])
def test_a_model_of_unknown_cap_is_not_cheaper_for_that(limit: dict[str, int]) -> None:
    """At one price both cost the same, whether or not the catalogue says how much they write at most."""
    known, unknown = expected(
        [entry("known", output_cap_tokens=128_000), entry("unknown")], QUESTION | limit, Endpoint.CHAT
    )
    assert known == unknown
    assert known is not None
    assert known > 250 * 4_000


def test_vectors_have_no_output() -> None:
    """Only what goes in is paid for."""
    models = [entry("vectors", capabilities=frozenset({Capability.EMBEDDINGS}))]
    [nanos] = expected(models, {"input": "What is a mill?"}, Endpoint.EMBEDDINGS)
    assert nanos is not None
    assert 0 < nanos < 20 * 1_000
