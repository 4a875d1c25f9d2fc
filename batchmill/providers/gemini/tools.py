"""Functions a model may call, as Gemini declares them.

Facts: ai.google.dev/api/caching (Tool, ToolConfig) and docs/function-calling.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from batchmill.providers.fields import Field, Support
from batchmill.providers.gemini import shapes
from batchmill.providers.wire import UntranslatableError

_MODES: Final[Mapping[str, str]] = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """Functions to declare.

    Attributes:
        strict: Whether one of them wants its arguments to fit its schema, always.
    """

    declarations: Sequence[Mapping[str, Any]]
    strict: bool


def read(tools: Any, param: str) -> Toolbox:
    """The functions of a list of tools.

    Raises:
        UntranslatableError: One is no function.
    """
    declarations, strict = [], False
    for index, tool in enumerate(shapes.items(tools, param)):
        function = _function(tool, f"{param}[{index}]")
        strict = strict or shapes.flag(function.get("strict", False), f"{param}[{index}].function.strict")
        declarations.append(_declaration(function, f"{param}[{index}].function"))
    return Toolbox(declarations=declarations, strict=strict)


def choice(value: Any, param: str) -> dict[str, Any]:
    """The `functionCallingConfig` of a tool choice.

    Raises:
        UntranslatableError: Gemini cannot be told to choose so.
    """
    if isinstance(value, str):
        if value not in _MODES:
            raise UntranslatableError(param, f"must be one of {', '.join(_MODES)} or name a function")
        return {"mode": _MODES[value]}
    return {"mode": "ANY", "allowedFunctionNames": [_named(value, param)]}


def _named(value: Any, param: str) -> str:
    """The name in `{"type": "function", "function": {"name": …}}`."""
    function = _function(value, param)
    name = shapes.required(
        shapes.known(function, f"{param}.function", ("name",)), "name", f"{param}.function"
    )
    return shapes.text(name, f"{param}.function.name")


def _function(holder: Any, param: str) -> Mapping[str, Any]:
    found = shapes.members(holder, param)
    if shapes.required(found, "type", param) != "function":
        raise UntranslatableError(f"{param}.type", "must be 'function': Gemini's models call nothing else")
    function = shapes.required(shapes.known(found, param, ("type", "function")), "function", param)
    return shapes.known(function, f"{param}.function", ("name", "description", "parameters", "strict"))


def _declaration(function: Mapping[str, Any], param: str) -> Mapping[str, Any]:
    declared: dict[str, Any] = {
        "name": shapes.text(shapes.required(function, "name", param), f"{param}.name")
    }
    if "description" in function:
        declared["description"] = shapes.text(function["description"], f"{param}.description")
    if "parameters" in function:
        declared["parametersJsonSchema"] = shapes.members(function["parameters"], f"{param}.parameters")
    return declared


WITHIN: Final = (
    Field(
        name="tools[].function.strict",
        support=Support.MAPPED,
        note="With one that is strict, all calls are kept to their schemas: mode VALIDATED in place of AUTO.",
    ),
    Field(
        name="tools[].type=custom",
        support=Support.ERROR,
        note="is no function: Gemini's models call nothing else",
    ),
    Field(
        name="tool_choice.allowed_tools",
        support=Support.ERROR,
        note="has no counterpart at Gemini: give only the tools that are allowed",
    ),
    Field(
        name="tool_choice.custom",
        support=Support.ERROR,
        note="is no function: Gemini's models call nothing else",
    ),
)
"""Rows of what is seen to above, within other fields."""
