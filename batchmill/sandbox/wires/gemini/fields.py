"""Reads JSON as Google's servers do: names in either spelling, unknown ones refused, schemas in OpenAPI's dialect."""

import binascii
import math
from base64 import b64decode
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from batchmill.sandbox.wires.gemini.errors import invalid, unreadable

_SCHEMA_TYPES: Final = (
    "type_unspecified",
    "string",
    "number",
    "integer",
    "boolean",
    "array",
    "object",
    "null",
)
_SCHEMA_FIELDS: Final = frozenset(
    {
        *("type", "format", "title", "description", "nullable", "enum", "properties", "required", "items"),
        *("minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength", "pattern"),
        *("minimum", "maximum", "example", "default", "anyOf", "propertyOrdering", "additionalProperties"),
    }
)


def read_fields(value: Any, where: str, names: Collection[str]) -> dict[str, Any]:
    """The object's fields by their names in camel case; those that are null are left out."""
    if not isinstance(value, dict):
        raise unreadable(where, f"Invalid value at '{where}', expected an object")
    fields = {}
    for name, each in value.items():
        camel = _camel(name)
        if camel not in names:
            place = f" at '{where}'" if where else ""
            what = f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.'
            raise unreadable(where, what)
        if each is not None:
            fields[camel] = each
    return fields


def read_list(value: Any, where: str) -> list[Any]:
    """The list; an empty one for nothing."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise unreadable(where, f"Invalid value at '{where}', expected a list")
    return value


def read_text(value: Any, where: str) -> str:
    """The string."""
    if not isinstance(value, str):
        raise unreadable(where, f"Invalid value at '{where}' (TYPE_STRING), {value}")
    return value


def read_choice(value: Any, where: str, kind: str, choices: Collection[str]) -> str:
    """A name of an enumeration."""
    if value not in choices:
        full = f"type.googleapis.com/google.ai.generativelanguage.v1beta.{kind}"
        raise unreadable(where, f"Invalid value at '{where}' ({full}), \"{value}\"")
    return str(value)


def in_words(value: Any, choices: Sequence[str]) -> Any:
    """The name that a number of an enumeration stands for, as protobuf's JSON may have either.

    Args:
        choices: Its names, from number 0 on.
    """
    is_number = type(value) is int and 0 <= value < len(choices)
    return choices[value] if is_number else value


def check_whole(fields: Mapping[str, Any], name: str, where: str, least: int, most: int = 1 << 31) -> None:
    """Refuse what is no whole number from the least to the most."""
    value = fields.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise unreadable(
            f"{where}.{snake(name)}", f"Invalid value at '{where}.{snake(name)}' (TYPE_INT32), {value}"
        )
    if not least <= value <= most:
        raise invalid(
            f"* GenerateContentRequest.{where}.{snake(name)}: must be in the range [{least}, {most}]."
        )


def check_number(fields: Mapping[str, Any], name: str, where: str, least: float, most: float) -> None:
    """Refuse what is no number from the least to the most."""
    value = fields.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise unreadable(
            f"{where}.{snake(name)}", f"Invalid value at '{where}.{snake(name)}' (TYPE_FLOAT), {value}"
        )
    if not least <= value <= most:
        raise invalid(
            f"* GenerateContentRequest.{where}.{snake(name)}: must be in the range [{least}, {most}]."
        )


def check_base64(data: Any, where: str) -> None:
    """Refuse what is no base64, in either alphabet."""
    try:
        whole = b64decode(read_text(data, where).translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError):
        whole = b""
    if not whole:
        raise unreadable(where, f"Invalid value at '{where}' (TYPE_BYTES), Base64 decoding failed")


def read_schema(schema: Any, where: str) -> Mapping[str, Any]:
    """The schema, its types in words; one that uses more of JSON Schema than OpenAPI's dialect has is refused."""
    if isinstance(schema, dict) and isinstance(schema.get("type"), list):
        what = (
            f"Invalid JSON payload received. Unknown name \"type\" at '{where}': "
            "Proto field is not repeating, cannot start list."
        )
        raise unreadable(where, what)
    fields = read_fields(schema, where, _SCHEMA_FIELDS)
    if "type" in fields:
        kind = str(in_words(fields["type"], _SCHEMA_TYPES)).lower()
        fields["type"] = read_choice(kind, f"{where}.type", "Type", _SCHEMA_TYPES)
    if "properties" in fields:
        if not isinstance(fields["properties"], dict):
            raise unreadable(where, f"Invalid value at '{where}.properties', expected an object")
        fields["properties"] = {
            name: read_schema(part, f"{where}.properties[{name!r}]")
            for name, part in fields["properties"].items()
        }
    if "anyOf" in fields:
        options = read_list(fields["anyOf"], f"{where}.any_of")
        fields["anyOf"] = [
            read_schema(part, f"{where}.any_of[{place}]") for place, part in enumerate(options)
        ]
    if "items" in fields:
        fields["items"] = read_schema(fields["items"], f"{where}.items")
    elif fields.get("type") == "array":
        raise invalid(f"* GenerateContentRequest.{where}.items: missing field.")
    return fields


def snake(name: str) -> str:
    """`maxOutputTokens` as the errors have it: `max_output_tokens`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def given(fields: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Those of the names that are given."""
    return [name for name in names if name in fields]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


_URL_SAFE: Final = str.maketrans("-_", "+/")
