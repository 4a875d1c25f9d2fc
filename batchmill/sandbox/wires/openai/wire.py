"""OpenAI's API: chat, responses, embeddings, completions, moderations, and the list of models."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from batchmill.requests.model import Endpoint
from batchmill.sandbox.compose import Composed
from batchmill.sandbox.limits import Demands, Excess, Gauge
from batchmill.sandbox.outcomes import NOT_A_MODEL, Answer, Complaint, Headers
from batchmill.sandbox.prompts import Asked, WireName
from batchmill.sandbox.request import Request
from batchmill.sandbox.wires.base import Route
from batchmill.sandbox.wires.models import named_models
from batchmill.sandbox.wires.openai import errors, limits, shape
from batchmill.sandbox.wires.openai.read import parse_body, read_call
from batchmill.streams.pieces import pieces_of


class OpenAI:
    """OpenAI's wire; needs no key."""

    name: Final = WireName.OPENAI
    id_header: Final = "x-request-id"
    faults: Final[Mapping[str, Complaint]] = errors.FAULTS
    settles_output: Final = False

    def read(self, route: Route, request: Request) -> Asked:
        """What the call asks."""
        return read_call(route.endpoint, parse_body(request.body))

    def shape(self, asked: Asked, composed: Composed, request_id: str, cost_nanos: int) -> dict[str, Any]:
        """The answer's JSON."""
        return shape.shape(asked, composed, request_id, cost_nanos)

    def stream(self, asked: Asked, answer: Mapping[str, Any]) -> bytes | None:
        """The events, word by word; the usage last, if that is asked for."""
        if not asked.body.get("stream"):
            return None
        options = asked.body.get("stream_options")
        with_usage = isinstance(options, dict) and options.get("include_usage") is True
        return b"".join(pieces_of(asked.endpoint, answer, with_usage=with_usage, by_words=True))

    def refuse(self, complaint: Complaint, request_id: str) -> Answer:
        """The error; its id is in the head alone."""
        return errors.refuse(complaint)

    def page(self, request: Request) -> dict[str, Any] | None:
        """The list of models, and OpenRouter's word on a key."""
        if request.path == "/v1/key":
            return {"data": _KEY, "sandbox": NOT_A_MODEL}
        if request.path != "/v1/models":
            return None
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "batchmill-sandbox"}
            for name in named_models(WireName.OPENAI)
        ]
        return {"object": "list", "data": data, "sandbox": NOT_A_MODEL}

    def demands(self, asked: Asked) -> Demands:
        """A request, and the most tokens it may come to."""
        return limits.demands(asked)

    def limit_headers(self, gauges: Iterable[Gauge]) -> Headers:
        """`x-ratelimit-…`."""
        return limits.limit_headers(gauges)

    def too_much(self, excess: Excess) -> Complaint:
        """A 429 that names the wait."""
        return limits.too_much(excess)


_KEY: Final = {"label": "sandbox", "usage": 0, "limit": None, "limit_remaining": None, "is_free_tier": False}

OPENAI: Final = OpenAI()

ROUTES: Final[Mapping[str, Route]] = {
    endpoint.value: Route(wire=OPENAI, name=endpoint.value, endpoint=endpoint) for endpoint in Endpoint
}
"""By path."""
