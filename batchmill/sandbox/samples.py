"""The simplest JSON that a schema lets through: for structured answers and the arguments of tools.

Reads JSON Schema and OpenAPI's dialect of it (Gemini's upper-case types, `nullable`). What it cannot read it
answers with a text; patterns, `not` and conditions are not looked at.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from batchmill.sandbox.outcomes import NOT_A_MODEL

DEEPEST: Final = 12
"""Levels, below which only what is required is filled in; twice as deep nothing is."""
LONGEST: Final = 1000
"""Most items of a list, and most letters that a text is padded to."""

_FORMATS: Final[Mapping[str, str]] = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "sandbox@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-0000-0000-000000000000",
}


def sample(schema: Any) -> Any:
    """A value of the schema, the same for the same schema."""
    return _value(schema, schema, 0)


def _value(schema: Any, root: Any, depth: int) -> Any:
    schema = _resolve(schema, root)
    if not isinstance(schema, Mapping) or depth > 2 * DEEPEST:
        return NOT_A_MODEL if schema is not False else None
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if choices := _list(schema.get("enum")):
        return choices[0]
    for word in ("anyOf", "oneOf"):
        if options := _list(schema.get(word)):
            return _value(_plainest(options, root), root, depth + 1)
    if parts := _list(schema.get("allOf")):
        return _value(_merged(schema, parts, root), root, depth + 1)
    return _typed(_type_of(schema), schema, root, depth)


def _typed(kind: str, schema: Mapping[str, Any], root: Any, depth: int) -> Any:
    match kind:
        case "object":
            return _object(schema, root, depth)
        case "array":
            return _array(schema, root, depth)
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return False
        case "null":
            return None
    return _text(schema)


def _object(schema: Mapping[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = _mapping(schema.get("properties"))
    required = _list(schema.get("required"))
    names = properties if depth < DEEPEST else [name for name in properties if name in required]
    return {name: _value(properties[name], root, depth + 1) for name in names}


def _array(schema: Mapping[str, Any], root: Any, depth: int) -> list[Any]:
    usual = 0 if depth >= DEEPEST or _bound(schema.get("maxItems")) == 0 else 1
    items = min(max(_bound(schema.get("minItems")) or 0, usual), LONGEST)
    return [_value(schema.get("items", {}), root, depth + 1) for _ in range(items)]


def _number(schema: Mapping[str, Any]) -> Any:
    above, lowest, highest = (schema.get(word) for word in ("exclusiveMinimum", "minimum", "maximum"))
    if _is_number(above):
        return above + 1
    if _is_number(lowest) and lowest > 0:
        return lowest
    return highest if _is_number(highest) and highest < 0 else 0


def _text(schema: Mapping[str, Any]) -> str:
    text = _FORMATS.get(str(schema.get("format")), NOT_A_MODEL)
    text = text.ljust(min(_bound(schema.get("minLength")) or 0, LONGEST), ".")
    return text[: _bound(schema.get("maxLength"))]


def _bound(value: Any) -> int | None:
    """A whole number, also one written as text, as OpenAPI's dialect does; None for anything else."""
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _resolve(schema: Any, root: Any) -> Any:
    """What a local reference points at; the schema itself when it is none."""
    for _ in range(DEEPEST):
        if not isinstance(schema, Mapping) or not isinstance(target := schema.get("$ref"), str):
            return schema
        schema = root
        for name in target.removeprefix("#").strip("/").split("/") if target != "#" else ():
            name = name.replace("~1", "/").replace("~0", "~")
            schema = schema.get(name, {}) if isinstance(schema, Mapping) else {}
    return {}


def _plainest(options: list[Any], root: Any) -> Any:
    """The first that is not null."""
    for option in options:
        resolved = _resolve(option, root)
        if isinstance(resolved, Mapping) and _type_of(resolved) != "null":
            return resolved
    return options[0]


def _merged(schema: Mapping[str, Any], parts: list[Any], root: Any) -> dict[str, Any]:
    merged = {name: value for name, value in schema.items() if name != "allOf"}
    properties = dict(_mapping(merged.get("properties")))
    for part in parts:
        resolved = _resolve(part, root)
        if isinstance(resolved, Mapping):
            merged = {**resolved, **merged}
            properties |= _mapping(resolved.get("properties"))
    return merged | ({"properties": properties} if properties else {})
