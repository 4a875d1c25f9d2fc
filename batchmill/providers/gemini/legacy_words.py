"""What `google-generativeai` has words for: less than Gemini. Its messages end with the fields of early 2025.

What it has none for is an error that names the field.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from batchmill.providers.fields import Field, Support
from batchmill.providers.wire import UntranslatableError

_ARRAYS: Final = frozenset({"minItems", "maxItems"})
_TEXTS: Final = frozenset({"description", "format"})
_MOOT: Final = frozenset({"$schema", "title"})

_UNSAID: Final = "cannot be said with google-generativeai: leave it out, or call Gemini over http"

FIELDS: Final[Mapping[str, Field]] = {
    name: Field(name=name, support=Support.ERROR, note=note)
    for name, note in (
        ("seed", _UNSAID),
        ("reasoning_effort", _UNSAID),
        ("messages[].image_url.detail", f"{_UNSAID}; auto passes"),
        ("messages[].extra_content", _UNSAID),
        ("tools[].function.strict", f"{_UNSAID}; false passes"),
    )
}
"""The rows of the table of fields that differ from Gemini's."""

_SETTINGS: Final[Mapping[str, str]] = {
    "seed": "seed",
    "thinkingConfig": "reasoning_effort",
    "mediaResolution": "messages[].image_url.detail",
}


def own_words(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Gemini's request, its JSON Schemas in the SDK's own schema.

    Raises:
        UntranslatableError: There is something in it that the SDK has no word for.
    """
    for name in _unsaid(request):
        raise UntranslatableError(name, FIELDS[name].note)
    return _in_own_schemas(request)


def _unsaid(request: Mapping[str, Any]) -> Iterator[str]:
    config = request.get("generationConfig", {})
    yield from (name for word, name in _SETTINGS.items() if word in config)
    calling = request.get("toolConfig", {}).get("functionCallingConfig", {})
    if calling.get("mode") == "VALIDATED":
        yield "tools[].function.strict"
    if any("thoughtSignature" in part for turn in request["contents"] for part in turn["parts"]):
        yield "messages[].extra_content"


def _in_own_schemas(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request with its JSON Schemas in the SDK's own schema. Raises UntranslatableError."""
    own = dict(request)
    if "tools" in own:
        own["tools"] = [
            {"functionDeclarations": [_declaration(each, "tools") for each in tool["functionDeclarations"]]}
            for tool in own["tools"]
        ]
    config = dict(own.get("generationConfig", {}))
    if "responseJsonSchema" in config:
        config["responseSchema"] = _schema(config.pop("responseJsonSchema"), "response_format")
        own["generationConfig"] = config
    return own


def _declaration(declared: Mapping[str, Any], param: str) -> Mapping[str, Any]:
    own = dict(declared)
    if "parametersJsonSchema" in own:
        own["parameters"] = _schema(own.pop("parametersJsonSchema"), param)
    return own


def _schema(schema: Any, param: str) -> Mapping[str, Any]:
    """A JSON Schema in the words of OpenAPI 3.0 that the SDK knows; the deeper it goes, the longer its name."""
    if not isinstance(schema, dict):
        raise UntranslatableError(param, "has a schema that google-generativeai has no word for")
    own: dict[str, Any] = {}
    for word, value in schema.items():
        if word == "type" and isinstance(value, str):
            own["type"] = value.upper()
        elif word == "properties" and isinstance(value, dict):
            own["properties"] = {name: _schema(each, f"{param}.{name}") for name, each in value.items()}
        elif word == "items":
            own["items"] = _schema(value, f"{param}[]")
        elif word in ("enum", "required", "nullable") or word in _TEXTS | _ARRAYS:
            own[word] = value
        elif word not in _MOOT and not (word == "additionalProperties" and value is False):
            raise UntranslatableError(f"{param}.{word}", "has no word in google-generativeai's schemas")
    return own
