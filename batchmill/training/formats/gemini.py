"""Gemini's format for supervised tuning: contents and a system instruction.

Facts: Google Cloud, "Prepare supervised fine-tuning data for Gemini models", "Tune function calling" and "About
supervised fine-tuning for Gemini models" (131,072 tokens an example, 1 GB and 1,000,000 examples of text a file, 5,000
examples for validation). Roles are user and model, in turn; results of functions are the user's. Nothing tells the
model to learn from the last answer only.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from batchmill.training.formats.messages import arguments_of
from batchmill.training.model import Conversation, Reason, UnfitError
from batchmill.training.rules import GB, FileRules, size_faults, texts_in, unknown_members

RULES: Final = FileRules(
    most_lines=1_000_000,
    most_bytes=GB,
    most_tokens=131_072,
    most_validation=5_000,
    source="Google Cloud: About supervised fine-tuning for Gemini models",
)
_EXAMPLE: Final = frozenset({"systemInstruction", "contents", "tools"})
_PART: Final = ("text", "functionCall", "functionResponse", "fileData", "inlineData")
_SCHEMA: Final = frozenset(
    {
        "type",
        "format",
        "title",
        "description",
        "nullable",
        "enum",
        "items",
        "minItems",
        "maxItems",
        "properties",
    }
    | {"required", "minimum", "maximum", "minLength", "maxLength", "pattern", "default", "anyOf"}
)
_NEEDLESS: Final = frozenset({"additionalProperties", "strict", "$schema"})
"""What may go: it narrows what a call may hold, and says nothing that an example could break."""


def write(conversation: Conversation) -> dict[str, Any]:
    """The example.

    Raises:
        UnfitError: It is a completion, or has a tool that Gemini has no words for.
    """
    if conversation.prompt is not None:
        raise UnfitError(Reason.NOT_A_CONVERSATION)
    told = [said["content"] for said in conversation.messages if said["role"] == "system" and said["content"]]
    example: dict[str, Any] = {}
    if told:
        example["systemInstruction"] = {"role": "system", "parts": [{"text": "\n\n".join(told)}]}
    example["contents"] = _contents(conversation)
    if conversation.tools:
        declared = [_declaration(tool["function"]) for tool in conversation.tools]
        example["tools"] = [{"functionDeclarations": declared}]
    return example


def _contents(conversation: Conversation) -> list[dict[str, Any]]:
    """The turns; what the same has said in a row is one."""
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for said in conversation.messages:
        if said["role"] == "system":
            continue
        role = "model" if said["role"] == "assistant" else "user"
        parts = list(_parts(said, names))
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    return contents


def _parts(said: Mapping[str, Any], names: dict[str, str]) -> Iterator[dict[str, Any]]:
    if said["role"] == "tool":
        name = names.get(said["tool_call_id"])
        if name is None:
            raise UnfitError(Reason.MALFORMED, "the result of a call that is not there")
        yield {"functionResponse": {"name": name, "response": {"output": said["content"]}}}
        return
    if said["content"]:
        yield {"text": said["content"]}
    for call in said.get("tool_calls", ()):
        function = call["function"]
        names[call["id"]] = function["name"]
        yield {"functionCall": {"name": function["name"], "args": arguments_of(function["arguments"])}}


def _declaration(function: Mapping[str, Any]) -> dict[str, Any]:
    declared = {name: function[name] for name in ("name", "description") if function.get(name)}
    if function.get("parameters"):
        declared["parameters"] = _schema(function["parameters"])
    return declared


def _schema(schema: Any) -> dict[str, Any]:
    """A JSON schema in Gemini's words."""
    if not isinstance(schema, dict) or not schema.keys() <= _SCHEMA | _NEEDLESS:
        raise UnfitError(
            Reason.OTHER_TOOLS, "its parameters use more of JSON schema than Gemini's tuning knows"
        )
    said: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _NEEDLESS:
            continue
        if name == "type":
            if not isinstance(value, str):
                raise UnfitError(Reason.OTHER_TOOLS, "a parameter of several types")
            said[name] = value.upper()
        elif name == "properties" and isinstance(value, dict):
            said[name] = {each: _schema(inner) for each, inner in value.items()}
        elif name == "items":
            said[name] = _schema(value)
        elif name == "anyOf" and isinstance(value, list):
            said[name] = [_schema(each) for each in value]
        else:
            said[name] = value
    return said


def faults(example: Any) -> Iterator[str]:
    """What is wrong with a line."""
    if not isinstance(example, dict):
        yield "it is no object"
        return
    yield from unknown_members(example, _EXAMPLE, "the example")
    instruction = example.get("systemInstruction")
    if instruction is not None:
        yield from _content_faults(instruction, "systemInstruction", ("text",))
    contents = example.get("contents")
    if not isinstance(contents, list) or not contents:
        yield "contents is no array, or empty"
        return
    for nth, content in enumerate(contents):
        yield from _content_faults(content, f"contents[{nth}]", _PART)
    yield from _turn_faults([each.get("role") if isinstance(each, dict) else None for each in contents])
    yield from _tool_faults(example)
    yield from size_faults(example, texts_in(example), RULES)


def _content_faults(content: Any, what: str, kinds: tuple[str, ...]) -> Iterator[str]:
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not parts:
        yield f"{what}.parts is no array, or empty"
        return
    for nth, part in enumerate(parts):
        if not isinstance(part, dict) or len(part) != 1 or not part.keys() <= set(kinds):
            yield f"{what}.parts[{nth}] is not one of {', '.join(kinds)}"
        elif "text" in part and (not isinstance(part["text"], str) or not part["text"]):
            yield f"{what}.parts[{nth}].text is no text, or empty"


def _turn_faults(roles: list[Any]) -> Iterator[str]:
    for nth, role in enumerate(roles):
        if role not in ("user", "model"):
            yield f"contents[{nth}].role is {role!r}; it takes user, model"
        elif role != ("user", "model")[nth % 2]:
            yield f"contents[{nth}]: user and model take turns, the user first"
            break
    if roles and roles[-1] != "model":
        yield "the last of contents is not the model's"


def _tool_faults(example: Mapping[str, Any]) -> Iterator[str]:
    tools = example.get("tools") or []
    try:
        defined = {each["name"] for tool in tools for each in tool["functionDeclarations"]}
    except (TypeError, KeyError):
        yield "tools is no array of functionDeclarations with names"
        return
    called = {
        part["functionCall"].get("name")
        for content in example["contents"]
        if isinstance(content, dict)
        for part in content.get("parts") or ()
        if isinstance(part, dict) and isinstance(part.get("functionCall"), dict)
    }
    for name in sorted(str(name) for name in called - defined):
        yield f'the function "{name}" is called and not declared'
