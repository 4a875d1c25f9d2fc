"""Reads OpenAI's batch input as it streams by: for every line a request or its faults, in flat memory.

Beside custom_id, method, url and body a line may say what it wants of `routing`, and its `type`; any other field is
ignored. What it says is read as `jsonl.py` has it.
Whether two lines share a custom_id is the database's to find.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO

from batchmill.requests.checks import ENDPOINTS, Fault, find_faults, name_fault
from batchmill.requests.jsonl import DEFAULT_MAX_LINE_BYTES, line_error, read_objects
from batchmill.requests.model import Endpoint, LineError, RequestLine
from batchmill.routing.wants import read_routing


def read_lines(
    stream: BinaryIO,
    *,
    max_line_bytes: int = DEFAULT_MAX_LINE_BYTES,
    endpoint: Endpoint | None = None,
    model: str = "",
) -> Iterator[RequestLine | LineError]:
    """Yield what each line is: one request, or every fault of the line; nothing for a blank one.

    Args:
        stream: Buffered, opened in binary mode. Not closed here.
        max_line_bytes: Longest line taken, its line end not counted.
        endpoint: What every url has to be; None lets the first valid line set it.
        model: For bodies that name none; "" leaves that an error.
    """
    for line in read_objects(stream, max_line_bytes=max_line_bytes):
        if isinstance(line, LineError):
            yield line
            continue
        number, parsed = line
        if model:
            _add_model(parsed, model)
        routing, routing_faults = read_routing(parsed)
        if faults := [*find_faults(parsed, endpoint), *_type_faults(parsed), *routing_faults]:
            yield from (line_error(number, fault) for fault in faults)
        else:
            request = _request(number, parsed, routing)
            endpoint = request.endpoint
            yield request


def _add_model(parsed: dict[str, Any], model: str) -> None:
    body = parsed.get("body")
    if isinstance(body, dict) and body.get("model") is None:
        parsed["body"] = body | {"model": model}


def _type_faults(parsed: dict[str, Any]) -> list[Fault]:
    fault = name_fault("type", parsed["type"]) if parsed.get("type") is not None else None
    return [fault] if fault else []


def _request(number: int, parsed: dict[str, Any], routing: str) -> RequestLine:
    body = parsed["body"]
    return RequestLine(
        line=number,
        custom_id=parsed["custom_id"],
        endpoint=ENDPOINTS[parsed["url"]],
        model=body["model"],
        body=body,
        request_type=parsed.get("type") or "",
        routing=routing,
    )
