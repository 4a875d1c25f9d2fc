"""Offers: which cheaper models would do for a request."""

from typing import Any

import orjson
import pytest

from batchmill.budgets.offers import MOST_CHEAPER, CallOffers
from batchmill.catalogue.entries import Capability, ModelEntry, Tier
from batchmill.money.bounds import Bounds
from batchmill.money.owner_prices import OwnerPrice
from batchmill.money.prices import Pricer
from batchmill.money.rates import Rates
from batchmill.requests.model import CacheMode, Endpoint, Lane, OnUnknown
from batchmill.requests.work import BatchFacts, Bounded, Job
from batchmill.routing.names import Target
from batchmill.routing.path import Step, What

ASKED = "big"
USD_PER_MTOK = {"big": 100, "middle": 50, "small": 10, "tiny": 1, "dearer": 200, "unpriced": None}
MANY = {f"m-{usd}": usd for usd in range(2, 10)}
TEXT = frozenset({Capability.TEXT})


def rates(usd_per_mtok: int) -> OwnerPrice:
    units = usd_per_mtok * 10**18
    return OwnerPrice(standard=Rates(input=units, output=units), native_batch=None)


def entry(model: str, **fields: Any) -> ModelEntry:
    defaults: dict[str, Any] = {"provider": "openai", "tier": Tier.NORMAL, "capabilities": TEXT}
    return ModelEntry(model=model, **(defaults | fields))


def cheaper(
    models: list[ModelEntry],
    endpoint: Endpoint = Endpoint.CHAT,
    bounded: Bounded = Bounded.CLOSELY,
    given_up: tuple[str, ...] = (),
    **body: Any,
) -> list[tuple[str, int]]:
    """What is offered instead of `big`: model and hold."""
    priced = {
        ("openai", model): rates(usd) for model, usd in (USD_PER_MTOK | MANY).items() if usd is not None
    }
    offers = CallOffers(Bounds(Pricer(priced), output_cap_tokens=100))
    offers.set_models(models)
    asked = {"model": ASKED, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 100} | body
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
    job = Job(request_id=1, batch=batch, claim_id=1, cache_key=None, model=ASKED, body=orjson.dumps(asked))
    for model in given_up:
        target = Target(provider="openai", model=model)
        job.note(Step(target=target, what=What.TRIED, why="500: oops", at_ms=1))
    send = offers.with_cheaper(offers.offer(job, job.asked, bounded))
    found = send.cheaper or ()
    for candidate in found:
        assert orjson.loads(candidate.body) == asked | {"model": candidate.model}
    return [(candidate.model, candidate.hold_nanos or 0) for candidate in found]


def names(*args: Any, **body: Any) -> list[str]:
    return [model for model, _ in cheaper(*args, **body)]


def test_who_has_been_given_up_for_a_request_is_not_offered_again() -> None:
    """It would be asked without end: its failures are not those of the model asked for."""
    models = [entry(model) for model in USD_PER_MTOK]
    assert names(models, given_up=("middle", "tiny")) == ["small"]


def test_the_next_cheaper_comes_first() -> None:
    """Cheaper ones only, the dearest of them first, each at its own price; one without a price is none."""
    found = cheaper([entry(model) for model in USD_PER_MTOK])
    assert [model for model, _ in found] == ["middle", "small", "tiny"]
    assert [hold for _, hold in found] == sorted((hold for _, hold in found), reverse=True)


def test_of_many_the_cheapest_is_offered_too() -> None:
    """However many models there are, no budget is given up while the cheapest of them would fit."""
    models = [entry(model) for model in MANY]
    assert len(models) > MOST_CHEAPER
    assert names(models) == ["m-9", "m-8", "m-7", "m-6", "m-2"]


def test_a_disabled_model_is_not_offered() -> None:
    """What the owner has switched off is not asked."""
    assert names([entry("middle", is_active=False), entry("small")]) == ["small"]


def test_only_of_the_same_provider() -> None:
    """A call goes where its batch is meant to go."""
    assert names([entry("middle", provider="gemini"), entry("small")]) == ["small"]


@pytest.mark.parametrize(
    ("needed", "body"),
    [
        (Capability.TOOLS, {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        (Capability.JSON, {"response_format": {"type": "json_object"}}),
        (Capability.JSON_SCHEMA, {"response_format": {"type": "json_schema", "json_schema": {}}}),
        (Capability.REASONING, {"reasoning_effort": "low"}),
        (
            Capability.VISION,
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        ),
    ],
)
def test_it_has_to_be_able_to_do_what_is_asked(needed: Capability, body: dict[str, Any]) -> None:
    """A model without what the request needs is passed by."""
    assert names([entry("middle"), entry("small", capabilities=TEXT | {needed})], **body) == ["small"]


def test_it_has_to_have_room_for_it() -> None:
    """Neither the window nor the longest answer of a model may be too small."""
    tight = [entry("middle", context_tokens=20), entry("small", output_cap_tokens=50), entry("tiny")]
    assert names(tight) == ["tiny"]


def test_vectors_are_never_replaced() -> None:
    """Vectors of another model cannot be compared with those of the one asked for."""
    assert names([entry("small")], Endpoint.EMBEDDINGS, input="hello") == []


def test_a_rough_bound_makes_no_model_cheaper() -> None:
    """What is cheaper is told by close bounds, however the model asked for was bounded so far."""
    models = [entry(model) for model in USD_PER_MTOK]
    assert cheaper(models, bounded=Bounded.ROUGHLY) == cheaper(models)
