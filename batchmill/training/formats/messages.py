"""Hugging Face's conversational format, as TRL's SFTTrainer and most others read it: messages, and tools if there are.

Facts: TRL, "Dataset formats and types": roles system, user, assistant, tool; arguments of calls are objects; the
result of a tool has the tool's name; `tools` are JSON schemas of functions. No limits but those of the model.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from batchmill.training.formats.chat import message_faults, tool_faults
from batchmill.training.model import Conversation, Reason, UnfitError
from batchmill.training.rules import FileRules, unknown_members

RULES: Final = FileRules(source="Hugging Face TRL: Dataset formats and types")
_EXAMPLE: Final = frozenset({"messages", "tools"})


def write(conversation: Conversation) -> dict[str, Any]:
    """The example.

    Raises:
        UnfitError: It is a completion, or a call's arguments are no JSON object.
    """
    if conversation.prompt is not None:
        raise UnfitError(Reason.NOT_A_CONVERSATION)
    names = {
        call["id"]: call["function"]["name"]
        for message in conversation.messages
        for call in message.get("tool_calls", ())
    }
    example: dict[str, Any] = {"messages": [_said(message, names) for message in conversation.messages]}
    return example | ({"tools": conversation.tools} if conversation.tools else {})


def _said(message: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    said = {**message, "content": message["content"] or ""}
    if "tool_calls" in said:
        said["tool_calls"] = [_call(call) for call in said["tool_calls"]]
    if said["role"] == "tool" and said["tool_call_id"] in names:
        said["name"] = names[said["tool_call_id"]]
    return said


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {"name": function["name"], "arguments": arguments_of(function["arguments"])}}


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments of a call, as an object.

    Raises:
        UnfitError: They are none.
    """
    try:
        arguments = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise UnfitError(Reason.MALFORMED, "the arguments of a call are no JSON object")
    return arguments


def faults(example: Any) -> Iterator[str]:
    """What is wrong with a line."""
    if not isinstance(example, dict):
        yield "it is no object"
        return
    yield from unknown_members(example, _EXAMPLE, "the example")
    yield from message_faults(example.get("messages"), arguments_as_text=False)
    yield from tool_faults(example)
