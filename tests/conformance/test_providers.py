"""Whoever is asked, however: a conversation arrives whole, and what comes back is told alike."""

from array import array
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from batchmill.cache.policy import storable
from batchmill.providers.base import Provider, Verdict
from batchmill.providers.fields import Support
from batchmill.providers.http import UNSUPPORTED
from batchmill.requests.model import Endpoint
from batchmill.sandbox.compose import REFUSAL
from batchmill.sandbox.prompts import WireName, digest
from batchmill.sandbox.vectors import embed
from tests.support.ways import OPENING, WAYS, Stage, Way, nowhere, says
from workers.addresses import ENDPOINTS

Messages = Sequence[Mapping[str, Any]]


def text_to(messages: Messages) -> str:
    """The sandbox's text to a conversation, which has a digest of all of it."""
    sha256 = digest(Endpoint.CHAT, messages)
    return f'{OPENING}nothing was thought about "{messages[-1]["content"][:60]}" (prompt {sha256[:12]}).'


CONVERSATIONS: Mapping[str, Messages] = {
    "prompt": [says("user", "Why is the sky blue?")],
    "any letters": [says("user", 'Ünïcode 🙂,\n\ttabs and "quotes" \\')],
    "system": [says("system", "Be brief."), says("user", "Why?")],
    "turns": [says("user", "One?"), says("assistant", "One."), says("user", "Two?")],
    "all of it": [
        says("system", "Be brief."),
        says("user", "One?"),
        says("assistant", "One."),
        says("user", "Two?"),
    ],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_same_conversation_gets_the_same_text(stage: Stage, way: Way, name: str) -> None:
    """Every turn arrives whole and in its place, over whatever wire: the text has its digest in it."""
    met = stage.call(way, way.chat(messages=CONVERSATIONS[name]))
    assert met.message["content"] == text_to(CONVERSATIONS[name])
    assert (met.reply.verdict, met.reply.finish_reason) == (Verdict.ANSWERED, "stop")
    assert storable(met.reply, Endpoint.CHAT)


# endpoints

QUESTIONS: Mapping[Endpoint, Mapping[str, Any]] = {
    Endpoint.CHAT: {"messages": [says("user", "hello")]},
    Endpoint.RESPONSES: {"input": "hello"},
    Endpoint.EMBEDDINGS: {"input": "hello"},
    Endpoint.COMPLETIONS: {"prompt": "hello"},
    Endpoint.MODERATIONS: {"input": "hello"},
}


def test_the_endpoints_served_are_those_that_models_are_chosen_by(way: Way) -> None:
    """Whatever else is asked is refused by the endpoint's name, before anything is sent."""

    async def refused(provider: Provider) -> set[Endpoint]:
        bodies = {endpoint: QUESTIONS[endpoint] for endpoint in Endpoint}
        asked = {endpoint: way.call(endpoint, way.model, body) for endpoint, body in bodies.items()}
        faults = {endpoint: provider.fault(call) for endpoint, call in asked.items()}
        assert all(endpoint in str(fault) for endpoint, fault in faults.items() if fault is not None)
        return {endpoint for endpoint, fault in faults.items() if fault is not None}

    served = ENDPOINTS.get(way.provider, tuple(Endpoint))
    assert nowhere(way, refused) == set(Endpoint) - set(served)


# why answers end


def test_an_answer_that_was_withheld_is_no_whole_one(stage: Stage, way: Way) -> None:
    """`content_filter`, and not kept for others; Anthropic gives an error instead."""
    reply = stage.call(way, way.chat(model="sandbox/filtered")).reply
    refused = way.wire is WireName.ANTHROPIC
    assert reply.verdict is (Verdict.REFUSED if refused else Verdict.ANSWERED)
    assert reply.finish_reason == ("" if refused else "content_filter")
    assert not storable(reply, Endpoint.CHAT)


REFUSALS = {
    WireName.OPENAI: ("stop", REFUSAL),
    WireName.ANTHROPIC: ("content_filter", REFUSAL),
    WireName.GEMINI: ("content_filter", None),
}


def test_a_refusal_says_so(stage: Stage, way: Way) -> None:
    """In OpenAI's place for it, where the provider gives words; Gemini's prompt is blocked without any."""
    met = stage.call(way, way.chat(model="sandbox/refusal"))
    assert (met.reply.finish_reason, met.message["refusal"]) == REFUSALS[way.wire]
    assert not met.message["content"]


def test_an_empty_answer_is_empty(stage: Stage, way: Way) -> None:
    """It ended well and has nothing in it: so it is told apart, and not kept."""
    reply = stage.call(way, way.chat(model="sandbox/empty")).reply
    assert (reply.verdict, reply.finish_reason, reply.is_empty) == (Verdict.ANSWERED, "stop", True)
    assert not storable(reply, Endpoint.CHAT)


def test_an_answer_names_its_model_and_itself(stage: Stage, way: Way) -> None:
    """The model that was asked, and an id of the provider's."""
    reply = stage.call(way, way.chat()).reply
    assert reply.answer_model == way.model
    assert reply.provider_request_id


# embeddings

EMBEDDINGS: list[tuple[str, Mapping[str, Any]]] = [
    ("input", {"input": "one"}),
    ("input", {"input": ["one", "two", "one"]}),
    ("dimensions", {"input": ["one", "two"], "dimensions": 8}),
    ("encoding_format", {"input": "one", "encoding_format": "base64"}),
    ("user", {"input": "one", "user": "u-1"}),
]
"""A row of the table of fields, and a request that uses it."""

USUAL_DIMENSIONS = {WireName.OPENAI: 1_536, WireName.GEMINI: 3_072}


def embedding(*supports: Support) -> list[Any]:
    """The ways and requests whose field becomes one of these."""
    return [
        pytest.param(way, name, body, id=f"{way.name}-{name}-{number}")
        for way in WAYS.values()
        for number, (name, body) in enumerate(EMBEDDINGS)
        if way.embedding_fields[name].support in supports
    ]


def numbers(vector: Any) -> list[float]:
    """The vector, in base64 or not."""
    return vector if isinstance(vector, list) else array("f", b64decode(vector)).tolist()


@pytest.mark.parametrize(("way", "name", "body"), embedding(Support.MAPPED, Support.NOT_APPLICABLE))
def test_texts_become_vectors(stage: Stage, way: Way, name: str, body: Mapping[str, Any]) -> None:
    """Each text its vector, in order, of the size asked for."""
    met = stage.call(way, way.embed(**body))
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    dimensions = body.get("dimensions", USUAL_DIMENSIONS[way.wire])
    found = [(item["index"], numbers(item["embedding"])) for item in met.answer["data"]]
    assert found == [(index, embed(text, dimensions).tolist()) for index, text in enumerate(texts)]
    assert storable(met.reply, Endpoint.EMBEDDINGS)


@pytest.mark.parametrize(("way", "name", "body"), embedding(Support.ERROR))
def test_what_cannot_be_embedded_is_refused_by_name(
    stage: Stage, way: Way, name: str, body: Mapping[str, Any]
) -> None:
    """Nothing is sent; the message names the field, or the endpoint where there is none."""
    met = stage.call(way, way.embed(**body))
    assert (met.reply.verdict, met.reply.error_code) == (Verdict.REFUSED, UNSUPPORTED)
    assert f"'{name if way.embedding_model else Endpoint.EMBEDDINGS}'" in met.reply.error_message
    assert not met.heard
