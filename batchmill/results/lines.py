"""Lines of OpenAI's batch output and error files, one request each, as bytes that end in a newline.

Both files share one shape. Whatever HTTP answered, its status and body are under `response` and `error` is
null, also when the status says failure; `error` is filled only where there was no HTTP answer to show.
A reader therefore has to look at `response.status_code` too.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from batchmill.routing.names import AUTO, Target

Note = Mapping[str, str]
"""What a line says of us, beside OpenAI's fields."""


def note_of(*, asked: Target, answered: Target) -> Note | None:
    """What a line tells of who has answered it; None where that is simply whom it asks for.

    Args:
        asked: Whom the line asks for.
        answered: Whose answer it has; without a provider where it is our own word.
    """
    if not answered.provider or asked == answered:
        return None
    return {
        "asked_model": AUTO if asked.is_auto else asked.model,
        "provider": answered.provider,
        "model": answered.model,
    }


def output_line(
    *,
    batch_request_id: str,
    custom_id: str,
    status_code: int,
    provider_request_id: str,
    body: bytes,
    note: Note | None = None,
) -> bytes:
    """The line of a request that HTTP answered, well or badly.

    Args:
        batch_request_id: The line's own id, `batch_req_…`.
        provider_request_id: What the provider calls the call; "" where it did not say.
        body: The provider's answer, valid JSON. It is spliced in byte for byte without being parsed, except
            that line breaks between its tokens go, as they would end the line.
        note: See `note_of`.
    """
    response = {
        "status_code": status_code,
        "request_id": provider_request_id,
        # A raw line break can only stand between tokens: inside a JSON string it has to be escaped.
        "body": orjson.Fragment(body.translate(None, b"\r\n")),
    }
    return _line(batch_request_id, custom_id, response=response, error=None, note=note)


def error_line(
    *,
    batch_request_id: str,
    custom_id: str,
    code: str,
    message: str,
    status_code: int | None = None,
    provider_request_id: str = "",
    body: bytes | None = None,
    note: Note | None = None,
) -> bytes:
    """The line of a request that failed.

    Args:
        code: Machine-readable cause: `request_timeout`, `batch_cancelled`, `batch_expired`, ...
        status_code: The HTTP status; None when there was no HTTP answer.
        body: The provider's answer to an HTTP failure, valid JSON; None when there was none that could be
            read, and one of OpenAI's shape is then made of `code` and `message`.
        note: See `note_of`.
    """
    if status_code is None:
        error = {"code": code, "message": message}
        return _line(batch_request_id, custom_id, response=None, error=error, note=note)
    return output_line(
        batch_request_id=batch_request_id,
        custom_id=custom_id,
        status_code=status_code,
        provider_request_id=provider_request_id,
        body=body or _error_body(status_code, code, message),
        note=note,
    )


def _error_body(status_code: int, code: str, message: str) -> bytes:
    kind = "invalid_request_error" if 400 <= status_code < 500 else "server_error"
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _line(
    batch_request_id: str,
    custom_id: str,
    *,
    response: dict[str, Any] | None,
    error: dict[str, str] | None,
    note: Note | None,
) -> bytes:
    line: dict[str, Any] = {
        "id": batch_request_id,
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    if note is not None:
        line["batchmill"] = note
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
