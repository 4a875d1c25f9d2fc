"""Questions: what a caller who waits asks, from the body of its request to what the desk takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from batchmill.errors import NotFoundError, ParameterError, ProviderError
from batchmill.requests.checks import Fault, find_faults, json_type, missing, wrong_type
from batchmill.requests.jsonl import parse_object
from batchmill.requests.model import Endpoint, LineError, RequestLine
from batchmill.routing.addressing import Addressing
from batchmill.streams.pieces import STREAMED

CUSTOM_ID: Final = "direct"
WISHES: Final = "batchmill"
"""The field of a body that is for us, and goes to nobody else."""
DEFAULT_MODELS: Final[Mapping[Endpoint, str]] = {Endpoint.MODERATIONS: "omni-moderation-latest"}
"""Of requests that may leave it out."""

_IS_REQUIRED = " parameter is required."
_NO_JSON = "This line is not parseable as valid JSON."


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked.

    Attributes:
        line: As addressed, without what is said of how the answer is to travel.
        is_streamed: The answer is wanted in pieces.
        stream_options: How, in OpenAI's words.
        wishes: What the body says under `batchmill`, as it is.
    """

    line: RequestLine
    is_streamed: bool
    stream_options: Mapping[str, Any]
    wishes: Any


def read_question(endpoint: Endpoint, raw: bytes, addressing: Addressing) -> Question:
    """What a body asks.

    Raises:
        ParameterError: It is no request.
        NotFoundError: It is for a provider that cannot be called.
    """
    body = parse_object(raw)
    if isinstance(body, Fault):
        detail = body.message.removeprefix(_NO_JSON).strip()
        code = "invalid_json" if body.code == "invalid_json_line" else body.code
        raise ParameterError(f"We could not parse the JSON body of your request. {detail}".strip(), "", code)
    wishes = body.pop(WISHES, None)
    is_streamed, options = _stream(endpoint, body)
    if body.get("model") is None and endpoint in DEFAULT_MODELS:
        body["model"] = DEFAULT_MODELS[endpoint]
    request = {"custom_id": CUSTOM_ID, "method": "POST", "url": endpoint.value, "body": body}
    for fault in find_faults(request, endpoint):
        raise _told(fault)
    line = RequestLine(1, CUSTOM_ID, endpoint, body["model"], body)
    return Question(
        line=_addressed(line, addressing), is_streamed=is_streamed, stream_options=options, wishes=wishes
    )


def _stream(endpoint: Endpoint, body: dict[str, Any]) -> tuple[bool, Mapping[str, Any]]:
    """Whether an answer is wanted in pieces, and how; taken out of the body, as it is the same answer."""
    if endpoint not in STREAMED:
        if body.get("stream"):
            raise ParameterError(f"{endpoint} does not stream.", "stream", "unknown_parameter")
        body.pop("stream", None)
        return False, {}
    is_streamed, options = body.pop("stream", None), body.pop("stream_options", None)
    if is_streamed is not None and not isinstance(is_streamed, bool):
        raise _told(wrong_type("stream", "a boolean", is_streamed))
    if options is not None and not isinstance(options, dict):
        raise _told(wrong_type("stream_options", "an object", options))
    if options is not None and not is_streamed:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise ParameterError(message, "stream_options")
    include_usage = (options or {}).get("include_usage")
    if include_usage is not None and not isinstance(include_usage, bool):
        expected = f"expected a boolean, but got {json_type(include_usage)} instead"
        message = f"Invalid type for 'stream_options.include_usage': {expected}."
        raise ParameterError(message, "stream_options.include_usage", "invalid_type")
    return bool(is_streamed), options or {}


def _addressed(line: RequestLine, addressing: Addressing) -> RequestLine:
    try:
        addressed = addressing.address(line)
    except ProviderError as error:
        raise NotFoundError(error.message, error.hint) from error
    if isinstance(addressed, LineError):
        raise _told(Fault(addressed.code, addressed.message, addressed.param))
    return addressed


def _told(fault: Fault) -> ParameterError:
    """A fault of a line, as it is told of a body."""
    param = (fault.param or "").removeprefix("body.")
    if fault.message.endswith(_IS_REQUIRED):
        fault = missing(param)
    return ParameterError(fault.message.replace("'body.", "'"), param, fault.code)
