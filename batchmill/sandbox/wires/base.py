"""What a wire is: one provider's API, as far as the sandbox speaks it. One folder each, the same files inside.

`read.py` makes an `Asked` of a call's body, `shape.py` an answer of what was composed, `errors.py` words what goes
wrong, `limits.py` what is let through, and `wire.py` puts them together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from batchmill.requests.model import Endpoint
from batchmill.sandbox.compose import Composed
from batchmill.sandbox.limits import Demands, Excess, Gauge
from batchmill.sandbox.outcomes import Answer, Complaint, Headers
from batchmill.sandbox.prompts import Asked, WireName
from batchmill.sandbox.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a call goes.

    Attributes:
        name: The provider's own name of the endpoint, for the log.
        endpoint: What it is in OpenAI's words.
        model: Named by the address; "" where the body names it.
    """

    wire: "Wire"
    name: str
    endpoint: Endpoint
    model: str = ""


class Wire(Protocol):
    """One provider's API."""

    @property
    def name(self) -> WireName:
        """Whose API it is."""
        ...

    @property
    def id_header(self) -> str:
        """The header that carries a request's id."""
        ...

    @property
    def faults(self) -> Mapping[str, Complaint]:
        """The provider's own error for each fault that is one."""
        ...

    @property
    def settles_output(self) -> bool:
        """Whether a call's output counts towards the limits once it is known, not when the call comes."""
        ...

    def read(self, route: Route, request: Request) -> Asked:
        """What the call asks.

        Raises:
            ComplaintError: In the provider's words, for what the provider refuses too.
        """
        ...

    def shape(self, asked: Asked, composed: Composed, request_id: str, cost_nanos: int) -> dict[str, Any]:
        """The answer's JSON.

        Raises:
            ComplaintError: The provider answers this with an error.
        """
        ...

    def stream(self, asked: Asked, answer: Mapping[str, Any]) -> bytes | None:
        """The same as the events that it is streamed in; None where it is not asked for so."""
        ...

    def refuse(self, complaint: Complaint, request_id: str) -> Answer:
        """The error in the provider's shape."""
        ...

    def page(self, request: Request) -> dict[str, Any] | None:
        """What a GET of the provider's own pages shows; None for a page it has not.

        Raises:
            ComplaintError: The page is not shown.
        """
        ...

    def demands(self, asked: Asked) -> Demands:
        """What the call counts towards the limits when it comes."""
        ...

    def limit_headers(self, gauges: Iterable[Gauge]) -> Headers:
        """What every answer tells about the limits."""
        ...

    def too_much(self, excess: Excess) -> Complaint:
        """The refusal of a call that does not fit into a limit."""
        ...
