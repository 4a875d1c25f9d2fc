"""Tools, and the shape of an answer that is held to a schema."""

from collections.abc import Mapping
from typing import Any, Final

from batchmill.providers.anthropic.rules import Asked, Rule, fields_of, mapped, refused, said, unsaid
from batchmill.providers.anthropic.values import a_flag, a_list, a_text, an_object, shown
from batchmill.providers.wire import UntranslatableError

Fragment = Mapping[str, Any]


def write_tools(value: Any, asked: Asked) -> Fragment:
    """The tools; none of an empty list."""
    tools = a_list(value, "tools")
    return {"tools": [_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]} if tools else {}


def write_tool_choice(value: Any, asked: Asked) -> Fragment:
    """Which tools are to be called, and whether several at a time.

    Args:
        value: Of `tool_choice` or of `parallel_tool_calls`: Anthropic says both in one, so each looks for the other.
    """
    choice = _choice(asked)
    parallel = asked.body.get("parallel_tool_calls")
    alone = parallel is not None and not a_flag(parallel, "parallel_tool_calls")
    if not asked.body.get("tools"):
        if choice in (None, {"type": "auto"}, {"type": "none"}):
            return {}
        raise UntranslatableError("tool_choice", "demands a call, but there are no tools")
    if alone and choice != {"type": "none"}:
        return {"tool_choice": {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}}
    return {"tool_choice": choice} if choice else {}


def write_response_format(value: Any, asked: Asked) -> Fragment:
    """What the answer is held to."""
    kind = an_object(value, "response_format").get("type")
    if not isinstance(kind, str) or kind not in FORMATS:
        raise UntranslatableError("response_format", f"is of a type that is not known: {shown(kind)}")
    known = ("type", "json_schema") if kind == "json_schema" else ("type",)
    return FORMATS[kind].write(an_object(value, "response_format", known), asked)


def _tool(tool: Any, where: str) -> Fragment:
    kind = an_object(tool, where).get("type")
    if kind != "function":
        why = _CUSTOM if kind == "custom" else f"must be function at Anthropic, not {shown(kind)}"
        raise UntranslatableError(f"{where}.type", why)
    tool = an_object(tool, where, ("type", "function"))
    param = f"{where}.function"
    function = an_object(tool.get("function"), param, ("name", "description", "parameters", "strict"))
    written: dict[str, Any] = {
        "name": a_text(function.get("name"), f"{param}.name"),
        "input_schema": {
            "type": "object",
            **an_object(function.get("parameters", {}), f"{param}.parameters"),
        },
    }
    if "description" in function:
        written["description"] = a_text(function["description"], f"{param}.description")
    if a_flag(function.get("strict", False), f"{param}.strict"):
        written["strict"] = True
    return written


def _choice(asked: Asked) -> Fragment | None:
    value = asked.body.get("tool_choice")
    if value is None:
        return None
    if isinstance(value, str):
        if value not in _CHOICES:
            raise UntranslatableError("tool_choice", f"is none that is known: {shown(value)}")
        return _CHOICES[value]
    kind = an_object(value, "tool_choice").get("type")
    if not isinstance(kind, str) or kind not in NAMED:
        raise UntranslatableError("tool_choice", f"is of a type that is not known: {shown(kind)}")
    return NAMED[kind].write(value, asked)


def _named(value: Any, asked: Asked) -> Fragment:
    choice = an_object(value, "tool_choice", ("type", "function"))
    function = an_object(choice.get("function"), "tool_choice.function", ("name",))
    return {"type": "tool", "name": a_text(function.get("name"), "tool_choice.function.name")}


def _schema(value: Any, asked: Asked) -> Fragment:
    param = "response_format.json_schema"
    given = an_object(value.get("json_schema"), param, ("name", "description", "schema", "strict"))
    schema = dict(an_object(given.get("schema"), f"{param}.schema"))
    a_flag(given.get("strict", False), f"{param}.strict")
    a_text(given.get("name", ""), f"{param}.name")
    description = a_text(given.get("description", ""), f"{param}.description")
    if description and schema.setdefault("description", description) != description:
        raise UntranslatableError(
            f"{param}.description", "cannot be said beside the schema's own at Anthropic"
        )
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


_CUSTOM: Final = "cannot be custom at Anthropic; use a function"
_CHOICES: Final[Mapping[str, Fragment]] = {
    "auto": {"type": "auto"},
    "none": {"type": "none"},
    "required": {"type": "any"},
}

NAMED: Final[Mapping[str, Rule]] = {
    "function": said(
        "tool_choice", "`auto`, `none`, `required` as `any`, or a named function as `tool`.", _named
    ),
    "allowed_tools": refused(
        "tool_choice.allowed_tools", "has no counterpart at Anthropic; send only the tools allowed"
    ),
    "custom": refused("tool_choice.custom", "has no counterpart at Anthropic; use a function"),
}

FORMATS: Final[Mapping[str, Rule]] = {
    "text": said("response_format.text", "What Anthropic does anyway.", lambda value, asked: {}),
    "json_schema": said(
        "response_format.json_schema",
        "`output_config.format`, the schema as it is. Its name is left out, for Anthropic has none.",
        _schema,
    ),
    "json_object": refused(
        "response_format.json_object", "has no counterpart at Anthropic; give a json_schema, or ask in words"
    ),
}

FIELDS: Final = fields_of(NAMED, FORMATS) | {
    field.name: field
    for field in (
        mapped("tools[].function.strict", "`strict`."),
        unsaid("tools[].type=custom", _CUSTOM),
        mapped(
            "response_format.json_schema.description",
            "The schema's own description where it has none; an error where it has another.",
        ),
        mapped(
            "response_format.json_schema.strict",
            "True or false: Anthropic holds to a schema always, and refuses one that it cannot hold to.",
        ),
    )
}
