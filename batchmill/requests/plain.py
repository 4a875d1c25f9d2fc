"""Reads plain lines: JSON Lines with a prompt and little else, or with data that a template makes prompts of.

A plain line says `id` and `prompt`, and may say `system_prompt`, `type`, `context`, `model`, `options` and
`routing`. Any other field is an error, as a field with a typing error must not be dropped in silence. Where a template
is given, a line is a row of data instead: only the fields that the template names, and the id, are looked at.
"""

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import orjson

from batchmill.requests.bodies import COMPOSED, WITH_SYSTEM_PROMPT, Question, compose
from batchmill.requests.checks import Fault, missing, name_fault, shown, wrong_type
from batchmill.requests.jsonl import line_error, read_objects
from batchmill.requests.model import Endpoint, LineError, RequestLine
from batchmill.requests.rows import Rows
from batchmill.routing.wants import read_routing

FIELDS = ("id", "prompt", "system_prompt", "type", "context", "model", "options", "routing")
NO_MODEL = "Model parameter is required: in the line, or for all lines with --model."
ROLE_AND_CONTENT = {"role", "content"}


def read_plain(
    stream: BinaryIO, *, max_line_bytes: int, endpoint: Endpoint, model: str, system_prompt: str
) -> Iterator[RequestLine | LineError]:
    """Yield what each line is: one request, or every fault of the line; nothing for a blank one.

    Args:
        model: For lines that name none; "" leaves that an error.
        system_prompt: For lines without one.
    """
    defaults = {"model": model, "system_prompt": system_prompt}
    for line in read_objects(stream, max_line_bytes=max_line_bytes):
        if isinstance(line, LineError):
            yield line
            continue
        number, given = line
        yield from read_plain_object(number, given, endpoint, defaults)


def read_plain_object(
    number: int, given: Mapping[str, Any], endpoint: Endpoint, defaults: dict[str, Any]
) -> Iterator[RequestLine | LineError]:
    """Yield the request that one object is, or every fault of it.

    Args:
        number: Which line it is.
        defaults: `model` and `system_prompt`, and whatever else it may leave out.
    """
    given = defaults | {
        name: value for name, value in given.items() if value is not None or name not in FIELDS
    }
    routing, routing_faults = read_routing(given)
    if faults := [*_faults(given, endpoint), *routing_faults]:
        yield from (line_error(number, fault) for fault in faults)
    else:
        yield _request(number, given, endpoint, routing)


def read_json_rows(stream: BinaryIO, *, max_line_bytes: int, rows: Rows) -> Iterator[RequestLine | LineError]:
    """Yield what each line is as a row of data for a template; its id, if it has none, is its number."""
    for line in read_objects(stream, max_line_bytes=max_line_bytes):
        if isinstance(line, LineError):
            yield line
            continue
        number, given = line
        values = {name: _as_text(value) for name, value in given.items() if value is not None}
        yield from rows.read(number, values, place=number)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _request(number: int, given: Mapping[str, Any], endpoint: Endpoint, routing: str) -> RequestLine:
    question = Question(
        model=given["model"],
        prompt=given["prompt"],
        system_prompt=given["system_prompt"],
        context=given.get("context", ""),
        options=given.get("options", {}),
    )
    return RequestLine(
        line=number,
        custom_id=str(given["id"]),
        endpoint=endpoint,
        model=question.model,
        body=compose(endpoint, question),
        request_type=given.get("type", ""),
        routing=routing,
    )


def _faults(given: Mapping[str, Any], endpoint: Endpoint) -> Iterator[Fault]:
    """Everything wrong with a line, its nulls taken out and the defaults put in."""
    if "id" not in given:
        yield missing("id")
    elif type(given["id"]) is not int and (fault := name_fault("id", given["id"])):
        yield fault
    yield from _prompt_faults(given, endpoint)
    if not given["model"]:
        yield Fault("invalid_request", NO_MODEL, "model")
    elif fault := name_fault("model", given["model"]):
        yield fault
    if "type" in given and (fault := name_fault("type", given["type"])):
        yield fault
    yield from _option_faults(given.get("options", {}))
    known = ", ".join(FIELDS)
    for name in given:
        if name not in FIELDS:
            yield Fault(
                "unknown_parameter", f"Unknown parameter: {shown(name)}. A line may have: {known}.", name
            )


def _prompt_faults(given: Mapping[str, Any], endpoint: Endpoint) -> Iterator[Fault]:
    if "prompt" not in given:
        yield missing("prompt")
    elif not isinstance(given["prompt"], str):
        yield wrong_type("prompt", "a string", given["prompt"])
    elif not given["prompt"].strip():
        yield Fault("invalid_value", "Invalid value: 'prompt' is empty.", "prompt")
    if not isinstance(given["system_prompt"], str):
        yield wrong_type("system_prompt", "a string", given["system_prompt"])
    elif given["system_prompt"] and endpoint not in WITH_SYSTEM_PROMPT:
        yield _not_here("system_prompt", endpoint)
    yield from _context_faults(given.get("context", ""), endpoint)


def _context_faults(context: Any, endpoint: Endpoint) -> Iterator[Fault]:
    if isinstance(context, str):
        return
    if not isinstance(context, list):
        yield wrong_type("context", "a string or an array of messages", context)
    elif endpoint not in WITH_SYSTEM_PROMPT:
        yield _not_here("context", endpoint)
    else:
        for place, message in enumerate(context):
            if not _is_message(message):
                text = f"Invalid value: 'context[{place}]' is no message. A message has a role and a content."
                yield Fault("invalid_value", text, f"context[{place}]")


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or set(message) != ROLE_AND_CONTENT:
        return False
    role, content = message["role"], message["content"]
    return isinstance(role, str) and role != "" and isinstance(content, str | list)


def _option_faults(options: Any) -> Iterator[Fault]:
    if not isinstance(options, dict):
        yield wrong_type("options", "an object", options)
        return
    for name in COMPOSED:
        if name in options:
            say = "Batches do not stream." if name == "stream" else "The line itself says that."
            yield Fault(
                "invalid_value", f"Invalid value: 'options' may not set '{name}'. {say}", f"options.{name}"
            )


def _not_here(param: str, endpoint: Endpoint) -> Fault:
    return Fault("invalid_value", f"Invalid value: {endpoint} takes no '{param}', only a prompt.", param)
