"""What a request needs of a model."""

from typing import Any

import pytest

from batchmill.catalogue.entries import Capability
from batchmill.requests.model import Endpoint
from batchmill.routing.needs import needs_of

TEXT = Capability.TEXT


def needed(endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> set[Capability]:
    return set(needs_of(endpoint, body).capabilities)


def part(kind: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": kind}]}]}


@pytest.mark.parametrize(
    ("body", "more"),
    [
        ({"messages": [{"role": "user", "content": "Hi"}]}, set()),
        ({"tools": [{"type": "function"}]}, {Capability.TOOLS}),
        ({"functions": [{"name": "f"}]}, {Capability.TOOLS}),
        ({"tools": []}, set()),
        ({"response_format": {"type": "text"}}, set()),
        ({"response_format": {"type": "json_object"}}, {Capability.JSON}),
        ({"response_format": {"type": "json_schema"}}, {Capability.JSON_SCHEMA}),
        ({"reasoning_effort": "high"}, {Capability.REASONING}),
        (part("image_url"), {Capability.VISION}),
        (part("input_audio"), {Capability.AUDIO}),
        (part("file"), {Capability.PDF}),
        (part("text"), set()),
        ({"messages": "not messages"}, set()),
        ({"messages": [None, {"content": [7]}], "response_format": []}, set()),
    ],
)
def test_a_chat_needs(body: dict[str, Any], more: set[Capability]) -> None:
    """Text, and what its fields and the parts of its messages ask for; what is malformed asks for nothing."""
    assert needed(**body) == {TEXT} | more


def test_a_response_needs() -> None:
    """The same in the words of its endpoint."""
    found = needed(
        Endpoint.RESPONSES,
        input=[{"role": "user", "content": [{"type": "input_image"}]}],
        text={"format": {"type": "json_schema"}},
        reasoning={"effort": "low"},
    )
    assert found == {TEXT, Capability.VISION, Capability.JSON_SCHEMA, Capability.REASONING}


def test_vectors() -> None:
    """A model that writes text makes none."""
    assert needed(Endpoint.EMBEDDINGS, input="Hi") == {Capability.EMBEDDINGS}


def test_deep_reasoning() -> None:
    """It is a model that thinks before it answers; vectors are made without."""
    assert needs_of(Endpoint.CHAT, {}, deep_reasoning=True).capabilities == {TEXT, Capability.REASONING}
    assert needs_of(Endpoint.EMBEDDINGS, {}, deep_reasoning=True).capabilities == {Capability.EMBEDDINGS}


@pytest.mark.parametrize(
    ("endpoint", "body", "tokens"),
    [
        (Endpoint.CHAT, {}, None),
        (Endpoint.CHAT, {"max_tokens": 100, "max_completion_tokens": 200}, 200),
        (Endpoint.RESPONSES, {"max_output_tokens": 50, "max_tokens": 100}, 50),
        (Endpoint.EMBEDDINGS, {"max_tokens": 100}, None),
    ],
)
def test_how_much_is_to_be_written(endpoint: Endpoint, body: dict[str, Any], tokens: int | None) -> None:
    """The limit that the request itself sets, in the field of its endpoint."""
    assert needs_of(endpoint, body).output_tokens == tokens
