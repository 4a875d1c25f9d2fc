"""Gemini's API: content, embeddings, counted tokens, and the list of models."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from batchmill.requests.model import Endpoint
from batchmill.sandbox.compose import Composed
from batchmill.sandbox.limits import Demands, Excess, Gauge
from batchmill.sandbox.outcomes import Answer, Complaint, Headers
from batchmill.sandbox.prompts import Asked, WireName
from batchmill.sandbox.request import Request
from batchmill.sandbox.wires.base import Route
from batchmill.sandbox.wires.gemini import errors, limits, shape
from batchmill.sandbox.wires.gemini.read import (
    check_caller,
    read_batch_embed,
    read_body,
    read_count,
    read_embed,
    read_generate,
)
from batchmill.sandbox.wires.models import named_models

_METHODS: Final[Mapping[str, tuple[Endpoint, Callable[[str, dict[str, Any]], Asked]]]] = {
    "generateContent": (Endpoint.CHAT, read_generate),
    "embedContent": (Endpoint.EMBEDDINGS, read_embed),
    "batchEmbedContents": (Endpoint.EMBEDDINGS, read_batch_embed),
    "countTokens": (Endpoint.MODERATIONS, read_count),
}
_ADDRESS: Final = re.compile(rf"/v1(?:beta)?/models/(.+):({'|'.join(_METHODS)})")
_PAGES: Final = ("/v1/models", "/v1beta/models")


class Gemini:
    """Gemini's wire; any key will do, but there has to be one."""

    name: Final = WireName.GEMINI
    id_header: Final = errors.ID_HEADER
    faults: Final[Mapping[str, Complaint]] = errors.FAULTS
    settles_output: Final = False

    def route(self, path: str) -> Route | None:
        """Where the address leads; the model's name in it may hold a slash, encoded or not."""
        found = _ADDRESS.fullmatch(unquote(path))
        if found is None:
            return None
        model, method = found.groups()
        return Route(wire=self, name=method, endpoint=_METHODS[method][0], model=model)

    def read(self, route: Route, request: Request) -> Asked:
        """What the call asks."""
        return _METHODS[route.name][1](route.model, read_body(request))

    def shape(self, asked: Asked, composed: Composed, request_id: str, cost_nanos: int) -> dict[str, Any]:
        """The answer's JSON."""
        return shape.shape(asked, composed, request_id)

    def stream(self, asked: Asked, answer: Mapping[str, Any]) -> bytes | None:
        """It does not stream."""
        return None

    def refuse(self, complaint: Complaint, request_id: str) -> Answer:
        """The error."""
        return errors.refuse(complaint)

    def page(self, request: Request) -> dict[str, Any] | None:
        """The list of models, on one page."""
        if request.path not in _PAGES:
            return None
        check_caller(request)
        return {"models": [_model(name) for name in named_models(WireName.GEMINI)]}

    def demands(self, asked: Asked) -> Demands:
        """A request and its prompt."""
        return limits.demands(asked)

    def limit_headers(self, gauges: Iterable[Gauge]) -> Headers:
        """None."""
        return limits.limit_headers(gauges)

    def too_much(self, excess: Excess) -> Complaint:
        """A 429 that names the wait."""
        return limits.too_much(excess)


def _model(name: str) -> dict[str, Any]:
    embeds = "embedding" in name
    return {
        "name": f"models/{name}",
        "version": "sandbox",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["embedContent"] if embeds else ["generateContent", "countTokens"],
    }


GEMINI: Final = Gemini()
