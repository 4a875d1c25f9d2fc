"""What can become of a request to the sandbox: an answer, or none of two kinds."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeAlias

import orjson

NOT_A_MODEL: Final = "not a model"


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
        break_after: Bytes of the body after which the connection is closed, though more was promised; None
            sends all of it.
        drip_s: Seconds over which the body trickles out; 0 sends it at once.
    """

    status: int = 200
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
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


class ComplaintError(Exception):
    """The request is at fault; becomes an error in OpenAI's shape."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        type: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.answer = complaint(status, message, code=code, param=param, type=type)


def complaint(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    type: str = "invalid_request_error",
    headers: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """An error as OpenAI words it: `{"error": {message, type, param, code}}`."""
    error = {"message": message, "type": type, "param": param, "code": code}
    return Answer(status=status, body=as_json({"error": error}), headers=headers)


def as_json(value: Any) -> bytes:
    """The value as JSON. Raises: TypeError when it has none."""
    return orjson.dumps(value)
