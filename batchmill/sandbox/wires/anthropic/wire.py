"""Anthropic's API: messages, and the list of models."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from batchmill.requests.model import Endpoint
from batchmill.sandbox.compose import Composed
from batchmill.sandbox.limits import Demands, Excess, Gauge
from batchmill.sandbox.outcomes import Answer, Complaint, Headers
from batchmill.sandbox.prompts import Asked, WireName
from batchmill.sandbox.request import Request
from batchmill.sandbox.wires.anthropic import errors, limits, shape
from batchmill.sandbox.wires.anthropic.read import check_caller, read_message_call
from batchmill.sandbox.wires.base import Route
from batchmill.sandbox.wires.models import named_models


class Anthropic:
    """Anthropic's wire; any key will do, but there has to be one."""

    name: Final = WireName.ANTHROPIC
    id_header: Final = errors.ID_HEADER
    faults: Final[Mapping[str, Complaint]] = errors.FAULTS
    settles_output: Final = True

    def read(self, route: Route, request: Request) -> Asked:
        """What the call asks."""
        return read_message_call(request)

    def shape(self, asked: Asked, composed: Composed, request_id: str, cost_nanos: int) -> dict[str, Any]:
        """The message."""
        return shape.shape(asked, composed, request_id)

    def stream(self, asked: Asked, answer: Mapping[str, Any]) -> bytes | None:
        """It does not stream."""
        return None

    def refuse(self, complaint: Complaint, request_id: str) -> Answer:
        """The error, with the request's id in it."""
        return errors.refuse(complaint, request_id)

    def page(self, request: Request) -> dict[str, Any] | None:
        """The list of models, on one page."""
        if request.path != "/v1/models":
            return None
        check_caller(request)
        names = named_models(WireName.ANTHROPIC)
        data = [_model(name) for name in names]
        return {"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]}

    def demands(self, asked: Asked) -> Demands:
        """A request and its prompt."""
        return limits.demands(asked)

    def limit_headers(self, gauges: Iterable[Gauge]) -> Headers:
        """`anthropic-ratelimit-…`."""
        return limits.limit_headers(gauges)

    def too_much(self, excess: Excess) -> Complaint:
        """A 429 that names the wait."""
        return limits.too_much(excess)


def _model(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
    }


ANTHROPIC: Final = Anthropic()

ROUTES: Final[Mapping[str, Route]] = {
    "/v1/messages": Route(wire=ANTHROPIC, name="/v1/messages", endpoint=Endpoint.CHAT)
}
"""By path."""
