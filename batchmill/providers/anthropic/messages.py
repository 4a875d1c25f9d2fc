"""The conversation: OpenAI's messages as Anthropic's system prompt and turns.

Anthropic's turns are the user's and the assistant's, and hold blocks. Results of tools are blocks of the user's turn.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from batchmill.providers.anthropic import parts
from batchmill.providers.anthropic.parts import Block, write_content, write_text
from batchmill.providers.anthropic.rules import Asked, Row, fields_of, idle, mapped, unsaid
from batchmill.providers.anthropic.values import a_list, a_text, an_object, shown
from batchmill.providers.fields import Field
from batchmill.providers.wire import UntranslatableError


class Turn(NamedTuple):
    """Who speaks, and what. The role `system` goes to the system prompt."""

    role: str
    blocks: list[Block]


def write_messages(value: Any, asked: Asked) -> Mapping[str, Any]:
    """The system prompt and the turns.

    Messages of one role that follow each other are one turn, as Anthropic would read them anyway.

    Raises:
        UntranslatableError: Something in them cannot be said.
    """
    messages = a_list(value, "messages")
    written = [_write_message(message, f"messages[{number}]") for number, message in enumerate(messages)]
    system = [block for turn in written if turn.role == "system" for block in turn.blocks]
    turns = _joined(turn for turn in written if turn.role != "system")
    if not turns:
        raise UntranslatableError("messages", "need one of the user's at Anthropic, beside the system's")
    if turns[-1].role == "assistant":
        raise UntranslatableError(*_LAST)
    request: dict[str, Any] = {"messages": [{"role": turn.role, "content": turn.blocks} for turn in turns]}
    return request | ({"system": system} if system else {})


def _write_message(message: Any, where: str) -> Turn:
    fields = {name: part for name, part in an_object(message, where).items() if part is not None}
    role = fields.pop("role", None)
    if not isinstance(role, str) or role not in ROLES:
        raise UntranslatableError(f"{where}.role", f"is none that is known: {shown(role)}")
    return ROLES[role].write(fields, where)


def _joined(turns: Iterable[Turn]) -> list[Turn]:
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].role == turn.role:
            joined[-1].blocks.extend(turn.blocks)
        else:
            joined.append(turn)
    return joined


# roles


def _system(fields: Mapping[str, Any], where: str) -> Turn:
    _check_keys(fields, ("content",), where)
    return Turn("system", write_content(fields.get("content"), ("text",), where))


def _user(fields: Mapping[str, Any], where: str) -> Turn:
    _check_keys(fields, ("content",), where)
    return _spoken(
        "user",
        write_content(fields.get("content"), ("text", "image_url", "file", "input_audio"), where),
        where,
    )


def _assistant(fields: Mapping[str, Any], where: str) -> Turn:
    keys = ("content", "tool_calls", "refusal", "reasoning_content", "thinking_blocks", "annotations")
    _check_keys(fields, keys, where)
    blocks = [
        *_thoughts(fields, where),
        *write_content(fields.get("content"), ("text", "refusal"), where),
        *write_text(fields.get("refusal", ""), f"{where}.refusal"),
        *(_tool_use(call, where) for call in a_list(fields.get("tool_calls", []), f"{where}.tool_calls")),
    ]
    return _spoken("assistant", blocks, where)


def _tool(fields: Mapping[str, Any], where: str) -> Turn:
    _check_keys(fields, ("content", "tool_call_id"), where)
    result: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": a_text(fields.get("tool_call_id"), f"{where}.tool_call_id"),
    }
    content = write_content(fields.get("content"), ("text", "image_url"), where)
    return Turn("user", [result | ({"content": content} if content else {})])


def _function(fields: Mapping[str, Any], where: str) -> Turn:
    raise UntranslatableError(f"{where}.role", _FUNCTION)


def _spoken(role: str, blocks: list[Block], where: str) -> Turn:
    if not blocks:
        raise UntranslatableError(f"{where}.content", "is empty, which Anthropic does not take")
    return Turn(role, blocks)


def _check_keys(fields: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for name in fields:
        if name in known:
            continue
        why = KEYS[name].note if name in KEYS else "is not known for Anthropic; leave it out"
        raise UntranslatableError(f"{where}.{shown(name)}", why)


# what an assistant's message holds beside its content


def _thoughts(fields: Mapping[str, Any], where: str) -> list[Block]:
    if "thinking_blocks" not in fields:
        if fields.get("reasoning_content"):
            raise UntranslatableError(f"{where}.reasoning_content", _REASONING)
        return []
    blocks = a_list(fields["thinking_blocks"], f"{where}.thinking_blocks")
    return [_thought(block, f"{where}.thinking_blocks") for block in blocks]


def _thought(block: Any, where: str) -> Block:
    kind = an_object(block, where).get("type")
    if kind == "thinking":
        keys: tuple[str, ...] = ("thinking", "signature")
    elif kind == "redacted_thinking":
        keys = ("data",)
    else:
        raise UntranslatableError(where, "must be as an answer gave them")
    thought = an_object(block, where, ("type", *keys))
    return {"type": kind} | {key: a_text(thought.get(key), f"{where}.{key}") for key in keys}


def _tool_use(call: Any, where: str) -> Block:
    param = f"{where}.tool_calls"
    call = an_object(call, param, ("id", "type", "function", "index"))
    if call.get("type", "function") != "function":
        raise UntranslatableError(f"{param}.type", "must be function; Anthropic knows no other calls")
    function = an_object(call.get("function"), f"{param}.function", ("name", "arguments"))
    return {
        "type": "tool_use",
        "id": a_text(call.get("id"), f"{param}.id"),
        "name": a_text(function.get("name"), f"{param}.function.name"),
        "input": _arguments(function.get("arguments"), f"{param}.function.arguments"),
    }


def _arguments(value: Any, param: str) -> Mapping[str, Any]:
    try:
        arguments = orjson.loads(a_text(value, param) or "{}")
    except ValueError as error:
        raise UntranslatableError(param, "are not JSON, and Anthropic takes an object") from error
    return an_object(arguments, param)


# the tables


_FUNCTION: Final = "of functions is not known at Anthropic; use tools"
_REASONING: Final = (
    "cannot be sent without its signature; send the answer's thinking_blocks too, or leave both out"
)
_LAST: Final = (
    "messages[last].role=assistant",
    "cannot be the last: Anthropic would write on in its midst instead of answering",
)
_SYSTEM: Final = "of the system prompt; several are joined in order, those amid the conversation too."


ROLES: Final[Mapping[str, Row[Callable[[Mapping[str, Any], str], Turn]]]] = {
    "system": Row(mapped("messages[].role=system", f"A block {_SYSTEM}"), _system),
    "developer": Row(mapped("messages[].role=developer", f"As of role system: a block {_SYSTEM}"), _system),
    "user": Row(mapped("messages[].role=user", "A turn of the user."), _user),
    "assistant": Row(mapped("messages[].role=assistant", "A turn of the assistant."), _assistant),
    "tool": Row(
        mapped("messages[].role=tool", "A `tool_result` in the user's turn, by `tool_call_id`."), _tool
    ),
    "function": Row(unsaid("messages[].role=function", _FUNCTION), _function),
}

KEYS: Final[Mapping[str, Field]] = {
    "content": mapped(
        "messages[].content", "Blocks, in order. Empty is an error, but for the system and for tools."
    ),
    "tool_calls": mapped("messages[].tool_calls", "`tool_use` blocks, their arguments read as JSON."),
    "thinking_blocks": mapped(
        "messages[].thinking_blocks", "The thinking of an earlier answer, signed, ahead of its text."
    ),
    "reasoning_content": unsaid("messages[].reasoning_content", _REASONING),
    "annotations": idle("messages[].annotations", "Notes on an earlier answer, which no model reads."),
    "name": unsaid("messages[].name", "has no counterpart at Anthropic; write who speaks in the text"),
    "audio": unsaid("messages[].audio", "of an earlier answer is OpenAI's; Claude does not speak"),
    "function_call": unsaid("messages[].function_call", "is not known at Anthropic; use tool_calls"),
    "last": unsaid(*_LAST),
}
"""What a message may hold beside its role, and where."""

FIELDS: Final = parts.FIELDS | fields_of(ROLES) | {field.name: field for field in KEYS.values()}
