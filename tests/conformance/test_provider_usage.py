"""Whoever is asked, however: usage is the provider's bill to the token, and the cost follows from it."""

from collections.abc import Mapping
from typing import Any

import pytest

from batchmill.money.owner_prices import parse_owner_prices
from batchmill.money.prices import Cost, Pricer
from batchmill.money.usage import Usage
from batchmill.providers.fields import Support
from batchmill.providers.names import ProviderName
from batchmill.sandbox.compose import THOUGHT_TOKENS
from tests.support.ways import WAYS, Stage, Way

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
WORDS = {"messages": [{"role": "user", "content": "one two three four five six seven eight nine ten"}]}

USES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "plain": ("messages", {}),
    "system": (
        "messages[].role=system",
        {"messages": [{"role": "system", "content": "Be very brief."}, {"role": "user", "content": "Why?"}]},
    ),
    "long": ("messages", {"messages": [{"role": "user", "content": "word " * 3_000}]}),
    "letters": ("messages", {"messages": [{"role": "user", "content": "Ünïcode 🙂 zwei"}]}),
    "cut": ("max_tokens", {"max_tokens": 3}),
    "stopped": ("stop", {"stop": "nothing"}),
    "several": ("n", {"n": 3}),
    "a call": ("tools", {"tools": [TOOL], "tool_choice": "required"}),
    "thinking": ("reasoning_effort", {"reasoning_effort": "low", "max_completion_tokens": 4_096}),
}
"""A request by what it uses, and the row of the table of fields that it needs."""

USED = [
    pytest.param(way, body, id=f"{way.name}-{name}")
    for way in WAYS.values()
    for name, (row, body) in USES.items()
    if way.fields[row].support is Support.MAPPED
]
THINKERS = [way for way in WAYS.values() if way.fields["reasoning_effort"].support is Support.MAPPED]
PRICES = {"local/gpt-4o-mini": {"input_usd_per_mtok": "0.15", "output_usd_per_mtok": "0.60"}}
"""No list has a price for a server of one's own."""


def cost_of(way: Way, model: str, usage: Usage | None) -> Cost:
    pricer = Pricer(parse_owner_prices(PRICES))
    return pricer.price(provider=way.provider.value, model=model, usage=usage)


def usage_of(stage: Stage, way: Way, **body: Any) -> Usage:
    usage = stage.call(way, way.chat(**body)).reply.usage
    assert usage is not None
    return usage


@pytest.mark.parametrize(("way", "body"), USED)
def test_usage_and_cost_are_the_bill(stage: Stage, way: Way, body: Mapping[str, Any]) -> None:
    """Input, output and nano-dollars are what the sandbox charges, at the list's price or as the answer says."""
    met = stage.call(way, way.chat(**body))
    usage = met.reply.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (
        met.billed["input_tokens"],
        met.billed["output_tokens"],
    )
    assert met.billed["billed_calls"] == 1
    assert cost_of(way, way.model, usage) == Cost(nanos=met.billed["cost_nanos"])


@pytest.mark.parametrize("way", THINKERS, ids=lambda way: way.name)
def test_thinking_is_a_part_of_the_output(stage: Stage, way: Way) -> None:
    """Counted once, and named apart, whether the provider counts it within or beside."""
    plain = usage_of(stage, way)
    thought = usage_of(stage, way, **USES["thinking"][1])
    assert (plain.reasoning_tokens, thought.reasoning_tokens) == (0, THOUGHT_TOKENS)
    assert thought.output_tokens == plain.output_tokens + THOUGHT_TOKENS


NANOS_PER_TOKEN = {
    ProviderName.OPENAI: (150, 75, 600),
    ProviderName.LOCAL: (150, 150, 600),
    ProviderName.ANTHROPIC: (1_000, 100, 5_000),
    ProviderName.GEMINI: (300, 30, 2_500),
}
"""Input, cached input, output of each way's model."""


def test_cached_input_is_a_part_of_the_input(stage: Stage, way: Way) -> None:
    """Ten words, half of them from the cache, whether the provider counts those within or beside."""
    usage = usage_of(stage, way, model="sandbox/cached", **WORDS)
    assert (usage.input_tokens, usage.cached_tokens) == (10, 5)


@pytest.mark.parametrize(
    "way", [way for way in WAYS.values() if way.provider in NANOS_PER_TOKEN], ids=lambda way: way.name
)
def test_cached_input_costs_what_the_cache_costs(stage: Stage, way: Way) -> None:
    """Five tokens at one price and five at the other, to the nano-dollar."""
    usage = usage_of(stage, way, model="sandbox/cached", **WORDS)
    fresh, cached, output = NANOS_PER_TOKEN[way.provider]
    assert cost_of(way, way.model, usage) == Cost(nanos=5 * fresh + 5 * cached + usage.output_tokens * output)


def test_openrouters_own_cost_goes_before_any_list(stage: Stage) -> None:
    """The answer says what it cost, whatever the model is."""
    way = WAYS["openrouter"]
    met = stage.call(way, way.chat(model="nobody/knows-it"))
    assert met.reply.usage is not None
    assert met.reply.usage.reported_cost_usd is not None
    assert cost_of(way, "nobody/knows-it", met.reply.usage) == Cost(nanos=met.billed["cost_nanos"])


@pytest.mark.parametrize(
    "way", [way for way in WAYS.values() if way.embedding_model], ids=lambda way: way.name
)
def test_embeddings_use_what_is_billed(stage: Stage, way: Way) -> None:
    """Input alone, of all texts together."""
    met = stage.call(way, way.embed(input=["one two", "three"]))
    assert met.reply.usage == Usage(input_tokens=3)
    assert met.billed["input_tokens"] == 3


@pytest.mark.parametrize("name", ["openai", "gemini", "google-genai", "google-generativeai"])
def test_embeddings_cost_what_is_billed(stage: Stage, name: str) -> None:
    """Where the list has a price for the model."""
    way = WAYS[name]
    met = stage.call(way, way.embed(input=["one two", "three"]))
    assert cost_of(way, way.embedding_model, met.reply.usage) == Cost(nanos=met.billed["cost_nanos"])
