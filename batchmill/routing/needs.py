"""What a request needs of a model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from batchmill.catalogue.entries import Capability
from batchmill.requests.model import Endpoint
from batchmill.tokens.most_output import own_limit

_ANSWERS: Mapping[Endpoint, frozenset[Capability]] = {
    Endpoint.EMBEDDINGS: frozenset({Capability.EMBEDDINGS}),
    Endpoint.MODERATIONS: frozenset(),
}
"""What the answers of an endpoint are, where they are no text."""
_PARTS = {
    "image_url": Capability.VISION,
    "input_image": Capability.VISION,
    "input_audio": Capability.AUDIO,
    "file": Capability.PDF,
    "input_file": Capability.PDF,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a model has to be able to do, and how much it has to write.

    Attributes:
        output_tokens: The longest answer that the request itself asks for; None when it does not say.
    """

    capabilities: frozenset[Capability]
    output_tokens: int | None = None


def needs_of(endpoint: Endpoint, body: Mapping[str, Any], *, deep_reasoning: bool = False) -> Needs:
    """Return what a request needs.

    Args:
        deep_reasoning: It is wished that the model thinks before it answers, whether or not the request says so.
    """
    capabilities = capabilities_needed(endpoint, body)
    if deep_reasoning and Capability.TEXT in capabilities:
        capabilities |= {Capability.REASONING}
    return Needs(capabilities=capabilities, output_tokens=own_limit(endpoint, body))


def capabilities_needed(endpoint: Endpoint, body: Mapping[str, Any]) -> frozenset[Capability]:
    """Return what a model has to be able to do for a request. For moderation the catalogue has no word."""
    if endpoint in _ANSWERS:
        return _ANSWERS[endpoint]
    needs = {Capability.TEXT}
    if body.get("tools") or body.get("functions"):
        needs.add(Capability.TOOLS)
    for told in (body.get("response_format"), _mapping(body.get("text")).get("format")):
        kind = _mapping(told).get("type")
        if kind == "json_object":
            needs.add(Capability.JSON)
        elif kind == "json_schema":
            needs.add(Capability.JSON_SCHEMA)
    if body.get("reasoning_effort") or body.get("reasoning"):
        needs.add(Capability.REASONING)
    needs |= {_PARTS[kind] for kind in _kinds_of_parts(body) if kind in _PARTS}
    return frozenset(needs)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _kinds_of_parts(body: Mapping[str, Any]) -> Iterator[str]:
    said = body.get("messages") or body.get("input")
    for message in said if isinstance(said, list) else ():
        content = _mapping(message).get("content")
        for part in content if isinstance(content, list) else ():
            yield str(_mapping(part).get("type"))
