"""The format that an answer is to have.

Facts: ai.google.dev/api/generate-content (GenerationConfig) and docs/structured-output.
"""

from collections.abc import Mapping
from typing import Any, Final

from batchmill.providers.fields import Field, Support
from batchmill.providers.gemini import shapes
from batchmill.providers.gemini.rules import Rule, mapped
from batchmill.providers.wire import UntranslatableError

Config = dict[str, Any]


def tell(config: Config, value: Any, param: str) -> None:
    """Put a response format into `generationConfig`.

    Raises:
        UntranslatableError: Gemini has no word for it.
    """
    kind = shapes.text(shapes.required(shapes.members(value, param), "type", param), f"{param}.type")
    if kind not in FORMATS:
        raise UntranslatableError(f"{param}.type", f"must be one of {', '.join(FORMATS)}")
    FORMATS[kind].write(config, value, param)


def _plain_text(config: Config, value: Any, param: str) -> None:
    shapes.known(value, param, ("type",))


def _json_object(config: Config, value: Any, param: str) -> None:
    shapes.known(value, param, ("type",))
    config["responseMimeType"] = "application/json"


def _json_schema(config: Config, value: Any, param: str) -> None:
    found = shapes.known(value, param, ("type", "json_schema"))
    inner = f"{param}.json_schema"
    given = shapes.known(
        shapes.required(found, "json_schema", param), inner, ("name", "description", "schema", "strict")
    )
    config["responseMimeType"] = "application/json"
    if "schema" in given:
        schema = shapes.members(given["schema"], f"{inner}.schema")
        told = [shapes.text(given.get("description", ""), f"{inner}.description")]
        if told[0]:
            told += [own] if isinstance(own := schema.get("description"), str) else []
            schema = {**schema, "description": "\n\n".join(told)}
        config["responseJsonSchema"] = schema
    elif "description" in given:
        raise UntranslatableError(f"{inner}.description", "needs a schema beside it to be told to Gemini")


FORMATS: Final[Mapping[str, Rule[Config]]] = {
    "text": mapped("response_format.text", "What Gemini does by itself.", _plain_text),
    "json_object": mapped(
        "response_format.json_object", "`responseMimeType` application/json.", _json_object
    ),
    "json_schema": mapped(
        "response_format.json_schema",
        "`responseJsonSchema`, which Gemini always keeps to, strict or not; the description goes into the "
        "schema, the name is not told.",
        _json_schema,
    ),
}
WITHIN: Final = (
    Field(
        name="response_format.json_schema.description",
        support=Support.MAPPED,
        note="Goes into the schema's own description.",
    ),
    Field(
        name="response_format.json_schema.strict",
        support=Support.NOT_APPLICABLE,
        note="Gemini keeps to the schema, strict or not.",
    ),
)
"""Rows of what is seen to above, within other fields."""
