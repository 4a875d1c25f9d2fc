"""The reference of the HTTP API: the OpenAPI document as the service answers it, and the page made from that."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from api.app import make_app
from api.errors import TYPES
from batchmill.errors import BatchmillError
from batchmill.settings import load_settings
from workers.serving.service import make_service

Schema = Mapping[str, Any]

_REFERENCE: Final = "#/components/schemas/"
_PLURAL: Final = {"string": "strings", "integer": "whole numbers", "number": "numbers", "object": "objects"}
_NAMES: Final = {"integer": "whole number", "object": "object"}

_INTRODUCTION = """\
# The HTTP API

Made from the OpenAPI document by `python docs/make_reference.py`; that document is \
[openapi.json](openapi.json) beside this page, and `/openapi.json` at the service.

`batchmill up` and `batchmill serve` answer it. Clients of OpenAI's take its address with `/v1` as their base address: \
[how](../how-to/openai-client.md).

- **Keys.** `Authorization: Bearer bm-…`; [how to make one](../how-to/api-keys.md). *Key* below is the scope that a \
route takes; an admin's key does for all of them. A service that listens on its own machine only and is embedded \
answers that machine's programs without a key, as the tenant `local`.
- **Every answer** has `x-request-id: req_…`, which the service's log knows too. Where a key is shown, \
`x-ratelimit-limit-requests`, `-remaining-requests` and `-reset-requests` tell how it stands to `BATCHMILL_KEY_RPM`.
- **Another tenant's** file or batch is not found, in the same words as one that does not exist.
- **Sent twice.** `POST /v1/files` and `POST /v1/batches` take an `Idempotency-Key`: for a day the same request with \
the same key makes nothing new, and is answered with what it made first."""

_ERRORS = """\
## Errors

Whatever goes wrong is answered as [ErrorBody](#errorbody): `{"error": {"message", "type", "param", "code"}}`. \
`message` says what is wrong and what to do; `param` names the field, as `metadata.tags`. Conflicts (409) carry \
`x-should-retry: false`, and OpenAI's clients do not repeat them; what may succeed later carries `retry-after`.

| status | `type` |
|---|---|
TYPES
| other 4xx | `invalid_request_error` |
| 5xx | `server_error` |

What is wrong with a field of a request has OpenAI's code: `missing_required_parameter`, `invalid_type`, \
`invalid_value`, `unknown_parameter`, `invalid_json`. Lines of an input file are judged after that: such a batch is \
`failed`, with all that is wrong in its `errors` ([codes](output.md)). Apart from these:

| status | `code` | what it is | later |
|---|---|---|---|
CODES"""


@cache
def _app() -> FastAPI:
    with tempfile.TemporaryDirectory() as home:
        service = make_service(load_settings({"BATCHMILL_HOME": home}, None))
        try:
            return make_app(service)
        finally:
            service.close()


@cache
def _document() -> dict[str, Any]:
    return _app().openapi()


def openapi_document() -> str:
    """The OpenAPI document as the service answers it, in a form that a diff can be read of."""
    return json.dumps(_document(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def http_page() -> str:
    """Every route with what goes in and what comes out, and every object."""
    parts = [_INTRODUCTION, _errors()]
    tag = ""
    for path, methods in _document()["paths"].items():
        for method, route in methods.items():
            if route["tags"][0] != tag:
                tag = route["tags"][0]
                parts.append(f"## {tag.capitalize()}")
            parts += _route(method.upper(), path, route)
    parts.append("## Objects")
    for name, schema in sorted(_document()["components"]["schemas"].items()):
        parts += _object(name, schema)
    return "\n\n".join(parts) + "\n"


def _errors() -> str:
    told = sorted({(error.http_status, error.code): error for error in _told_errors(BatchmillError)}.items())
    codes = "\n".join(
        f"| {status} | `{code}` | {_first_line(error)} | {'yes' if error.may_succeed_later else 'no'} |"
        for (status, code), error in told
    )
    types = "\n".join(f"| {status} | `{kind}` |" for status, kind in sorted(TYPES.items()))
    return _ERRORS.replace("TYPES", types).replace("CODES", codes)


def _told_errors(above: type[BatchmillError]) -> Iterator[type[BatchmillError]]:
    for error in above.__subclasses__():
        if error.exit_code != 130 and "code" in vars(error) and error.__module__ == BatchmillError.__module__:
            yield error
        yield from _told_errors(error)


def _first_line(described: object) -> str:
    return (described.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def _route(method: str, path: str, route: Schema) -> Iterator[str]:
    yield f"### {method} {path}"
    scope = _scopes().get((method, path))
    yield f"**{route['summary']}.** {_text(route.get('description', ''))}\n\nKey: {scope or 'none'}."
    parameters = route.get("parameters", [])
    if parameters:
        yield _table("parameter", (_parameter(each) for each in parameters))
    for kind, body in route.get("requestBody", {}).get("content", {}).items():
        schema = body["schema"]
        about = f" {_text(schema['description'])}" if "description" in schema else ""
        yield f"Body: {_type(schema)}, `{kind}`.{about}"
        if "properties" in schema:
            yield _fields(schema)
    answers = sorted((status, each) for status, each in route["responses"].items() if status != "default")
    yield "\n".join(["Answers:", "", *(_answer(status, each) for status, each in answers)])


def _answer(status: str, answer: Schema) -> str:
    contents = [
        f"{_type(body.get('schema', {}))}, `{kind}`" for kind, body in answer.get("content", {}).items()
    ]
    described = answer["description"]
    about = "" if described == "Successful Response" else f": {described.rstrip('.')}"
    headers = "".join(
        f"\n  - `{name}`: {each.get('description', '')}" for name, each in answer.get("headers", {}).items()
    )
    return f"- `{status}`: {'; '.join(contents) or 'nothing'}{about}.{headers}"


def _parameter(parameter: Schema) -> tuple[str, str]:
    schema = parameter["schema"]
    is_needed = parameter.get("required", False)
    where = f"`{parameter['name']}` ({parameter['in']})"
    return where, _row(schema, is_needed, parameter.get("description", ""))


def _object(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name}"
    described = _text(schema.get("description", ""))
    if "enum" in schema:
        described = f"{described} {_type(schema)}.".strip()
    if described:
        yield described
    if "properties" in schema:
        yield _fields(schema)


def _fields(schema: Schema) -> str:
    needed = schema.get("required", ())
    fields = schema["properties"].items()
    return _table(
        "field",
        ((f"`{name}`", _row(field, name in needed, field.get("description", ""))) for name, field in fields),
    )


def _table(what: str, rows: Iterator[tuple[str, str]]) -> str:
    head = [f"| {what} | is | needed | default | meaning |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(f"| {name} | {rest} |" for name, rest in rows)])


def _row(schema: Schema, is_needed: bool, described: str) -> str:
    default = schema.get("default")
    shown = "" if default is None or default == "" else f"`{json.dumps(default, ensure_ascii=False)}`"
    meaning = _text(described or schema.get("description", ""))
    return " | ".join([_cell(_type(schema)), "yes" if is_needed else "", _cell(shown), _cell(meaning)])


def _type(schema: Schema) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REFERENCE)
        return f"[{name}](#{name.lower()})"
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[union]))
    if "const" in schema:
        return f"`{json.dumps(schema['const'], ensure_ascii=False)}`"
    if "enum" in schema:
        if len(schema["enum"]) == 1:
            return f"`{schema['enum'][0]}`"
        return "one of " + ", ".join(f"`{each}`" for each in schema["enum"])
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(_type({**schema, "type": each}) for each in kind)
    if kind == "array":
        return f"array of {_many(schema.get('items', {}))}{_bounds(schema, 'Items', ' items')}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_many(schema['additionalProperties'])}{_bounds(schema, 'Properties', ' fields')}"
    if kind == "string":
        named = "bytes" if schema.get("format") == "binary" else "string"
        pattern = f", `{schema['pattern']}`" if "pattern" in schema else ""
        return f"{named}{_bounds(schema, 'Length', ' characters')}{pattern}"
    return f"{_NAMES.get(kind, kind)}{_range(schema)}"


def _many(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, str) and kind in _PLURAL and "enum" not in schema:
        one, _, bounds = _type(schema).replace(_NAMES.get(kind, kind), _PLURAL[kind], 1).partition(", ")
        return f"{one} ({bounds})" if bounds else one
    return _type(schema)


def _bounds(schema: Schema, name: str, unit: str) -> str:
    least, most = schema.get(f"min{name}", 0), schema.get(f"max{name}")
    if most is None:
        return f", at least {least:,}{unit}" if least else ""
    return f", {least:,} to {most:,}{unit}" if least else f", up to {most:,}{unit}"


def _range(schema: Schema) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    told = [
        *([] if least is None else [f"from {least:,}"]),
        *([] if above is None else [f"more than {above:,}"]),
        *([] if most is None else [f"to {most:,}"]),
        *([] if below is None else [f"less than {below:,}"]),
    ]
    return f", {' '.join(told)}" if told else ""


@cache
def _scopes() -> dict[tuple[str, str], str]:
    """What key every route takes."""
    return {
        (method, re.sub(r":\w+}", "}", route.path or "")): scope
        for route in iter_route_contexts(_app().routes)
        if isinstance(route.original_route, APIRoute) and (scope := _scope_of(route.dependant))
        for method in route.methods or ()
    }


def _scope_of(dependant: Dependant) -> str | None:
    scope = getattr(dependant.call, "scope", None)
    scopes = (scope, *map(_scope_of, dependant.dependencies))
    return next((str(each) for each in scopes if each is not None), None)


def _text(described: str) -> str:
    return " ".join(described.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
