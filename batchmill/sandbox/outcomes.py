"""What can become of a request to the sandbox: an answer, or none of two kinds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeAlias

import orjson

NOT_A_MODEL: Final = "not a model"

Headers: TypeAlias = tuple[tuple[str, str], ...]


class NoAnswer(Enum):
    """How a server may fail to answer."""

    RESET = "reset"
    """The connection is torn down."""
    HANG = "hang"
    """Nothing comes, ever; the connection stays open until the client leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer, not yet sent.

    Attributes:
        body: JSON, or what a fault made of it.
        headers: Beside those that every answer has.
        id_header: The header that carries the request's id.
        content_type: What the body is.
        break_after: Bytes of the body after which the connection is closed, though more was promised; None
            sends all of it.
        drip_s: Seconds over which the body trickles out; 0 sends it at once.
    """

    status: int = 200
    body: bytes
    headers: Headers = ()
    id_header: str = "x-request-id"
    content_type: str = "application/json"
    break_after: int | None = None
    drip_s: float = 0.0


Outcome: TypeAlias = Answer | NoAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What to do about a request, and how long to let it wait first.

    Attributes:
        delay_s: Seconds between the request and what becomes of it.
    """

    outcome: Outcome
    delay_s: float = field(default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """An error before a wire gives it its shape.

    Attributes:
        kind: OpenAI's and Anthropic's `type`, Gemini's `status`; "" for the usual one of the HTTP status.
        code: OpenAI's `code`.
        param: OpenAI's `param`.
        details: Anthropic's and Gemini's `details`; None for none.
    """

    status: int = 400
    message: str
    kind: str = ""
    code: str | None = None
    param: str | None = None
    details: Mapping[str, Any] | tuple[Mapping[str, Any], ...] | None = None
    headers: Headers = ()


class ComplaintError(Exception):
    """The request is at fault; becomes an error in the shape of the wire that it came by."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint)
        self.complaint = complaint


def as_json(value: Any) -> bytes:
    """The value as JSON. Raises: TypeError when it has none."""
    return orjson.dumps(value)
