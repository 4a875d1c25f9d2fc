"""The conversation: OpenAI's messages as Anthropic's system prompt and turns.

Anthropic's turns are the user's and the assistant's, and hold blocks. Results of tools are blocks of the user's turn.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from batchmill.providers.anthropic.rules import Asked, Row, fields_of, mapped
from batchmill.providers.anthropic.values import a_list, a_text, an_object, shown
from batchmill.providers.fields import Field, Support
from batchmill.providers.wire import UntranslatableError

Block = Mapping[str, Any]

_IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF: Final = "application/pdf"


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
    return Turn("system", _content(fields.get("content"), ("text",), where))


def _user(fields: Mapping[str, Any], where: str) -> Turn:
    _check_keys(fields, ("content",), where)
    return _spoken(
        "user", _content(fields.get("content"), ("text", "image_url", "file", "input_audio"), where), where
    )


def _assistant(fields: Mapping[str, Any], where: str) -> Turn:
    keys = ("content", "tool_calls", "refusal", "reasoning_content", "thinking_blocks", "annotations")
    _check_keys(fields, keys, where)
    blocks = [
        *_thoughts(fields, where),
        *_content(fields.get("content"), ("text", "refusal"), where),
        *_texts(fields.get("refusal", ""), f"{where}.refusal"),
        *(_tool_use(call, where) for call in a_list(fields.get("tool_calls", []), f"{where}.tool_calls")),
    ]
    return _spoken("assistant", blocks, where)


def _tool(fields: Mapping[str, Any], where: str) -> Turn:
    _check_keys(fields, ("content", "tool_call_id"), where)
    result: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": a_text(fields.get("tool_call_id"), f"{where}.tool_call_id"),
    }
    content = _content(fields.get("content"), ("text", "image_url"), where)
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


# parts of a message's content


def _content(content: Any, kinds: Sequence[str], where: str) -> list[Block]:
    param = f"{where}.content"
    if content is None or isinstance(content, str):
        return _texts(content or "", param)
    if not isinstance(content, list):
        raise UntranslatableError(param, "must be text or a list of parts")
    return [block for part in content for block in _part(part, kinds, where)]


def _part(part: Any, kinds: Sequence[str], where: str) -> list[Block]:
    kind = an_object(part, f"{where}.content").get("type")
    if not isinstance(kind, str) or kind not in PARTS or kind not in kinds:
        raise UntranslatableError(f"{where}.content", f"has a part that cannot be here: {shown(kind)}")
    return PARTS[kind].write(
        an_object(part, f"{where}.content", ("type", kind, "prompt_cache_breakpoint")).get(kind),
        f"{where}.{kind}",
    )


def _texts(text: Any, param: str) -> list[Block]:
    """A block, or none of a text that says nothing."""
    if not a_text(text, param):
        return []
    if not text.strip():
        raise UntranslatableError(param, "is only white space, which Anthropic does not take")
    return [{"type": "text", "text": text}]


def _image(image: Any, param: str) -> list[Block]:
    image = an_object(image, param, ("url", "detail"))
    if image.get("detail", "auto") not in ("auto", "high"):
        raise UntranslatableError(f"{param}.detail", _DETAIL)
    return [{"type": "image", "source": _image_source(a_text(image.get("url"), f"{param}.url"), param)}]


def _image_source(url: str, param: str) -> Mapping[str, str]:
    if url.startswith("https://"):
        return {"type": "url", "url": url}
    media_type, data = _data_url(url, param, "must be an https: address or a base64 data: URL at Anthropic")
    media_type = "image/jpeg" if media_type == "image/jpg" else media_type
    if media_type not in _IMAGE_TYPES:
        raise UntranslatableError(
            param, f"is of a kind that Anthropic does not take (JPEG, PNG, GIF, WebP): {shown(media_type)}"
        )
    return {"type": "base64", "media_type": media_type, "data": data}


def _file(file: Any, param: str) -> list[Block]:
    file = an_object(file, param, ("file_data", "file_id", "filename"))
    if "file_id" in file:
        raise UntranslatableError(f"{param}.file_id", "is OpenAI's; send the data instead")
    why = "must be a base64 data: URL of a PDF at Anthropic"
    media_type, data = _data_url(a_text(file.get("file_data"), f"{param}.file_data"), param, why)
    if media_type != _PDF:
        raise UntranslatableError(param, why)
    block: dict[str, Any] = {
        "type": "document",
        "source": {"type": "base64", "media_type": _PDF, "data": data},
    }
    name = a_text(file.get("filename", ""), f"{param}.filename")
    return [block | ({"title": name} if name else {})]


def _data_url(url: str, param: str, why: str) -> tuple[str, str]:
    kind, comma, data = url.partition(",")
    scheme, _, media_type = kind.removesuffix(";base64").partition(":")
    if not comma or not data or scheme != "data" or not kind.endswith(";base64"):
        raise UntranslatableError(param, why)
    return media_type.lower(), data


def _audio(audio: Any, param: str) -> list[Block]:
    raise UntranslatableError(param, _AUDIO)


# the tables


_FUNCTION: Final = "of functions is not known at Anthropic; use tools"
_AUDIO: Final = "cannot be sent: Claude does not listen"
_REASONING: Final = (
    "cannot be sent without its signature; send the answer's thinking_blocks too, or leave both out"
)
_DETAIL: Final = "can only be auto or high at Anthropic, which always looks closely"
_LAST: Final = (
    "messages[last].role=assistant",
    "cannot be the last: Anthropic would write on in its midst instead of answering",
)
_SYSTEM: Final = "of the system prompt; several are joined in order, those amid the conversation too."


def _error(name: str, note: str) -> Field:
    return Field(name=name, support=Support.ERROR, note=note)


def _idle(name: str, note: str) -> Field:
    return Field(name=name, support=Support.NOT_APPLICABLE, note=note)


ROLES: Final[Mapping[str, Row[Callable[[Mapping[str, Any], str], Turn]]]] = {
    "system": Row(mapped("messages[].role=system", f"A block {_SYSTEM}"), _system),
    "developer": Row(mapped("messages[].role=developer", f"As of role system: a block {_SYSTEM}"), _system),
    "user": Row(mapped("messages[].role=user", "A turn of the user."), _user),
    "assistant": Row(mapped("messages[].role=assistant", "A turn of the assistant."), _assistant),
    "tool": Row(
        mapped("messages[].role=tool", "A `tool_result` in the user's turn, by `tool_call_id`."), _tool
    ),
    "function": Row(_error("messages[].role=function", _FUNCTION), _function),
}

PARTS: Final[Mapping[str, Row[Callable[[Any, str], list[Block]]]]] = {
    "text": Row(mapped("messages[].text", "A text block. White space alone is an error."), _texts),
    "image_url": Row(
        mapped("messages[].image_url", "An image by its https: address, or base64 of a data: URL."), _image
    ),
    "file": Row(mapped("messages[].file", "A PDF as a document; a `file_id` is an error."), _file),
    "input_audio": Row(_error("messages[].input_audio", _AUDIO), _audio),
    "refusal": Row(mapped("messages[].refusal", "A text block of the assistant's."), _texts),
}


KEYS: Final[Mapping[str, Field]] = {
    "content": mapped(
        "messages[].content", "Blocks, in order. Empty is an error, but for the system and for tools."
    ),
    "tool_calls": mapped("messages[].tool_calls", "`tool_use` blocks, their arguments read as JSON."),
    "thinking_blocks": mapped(
        "messages[].thinking_blocks", "The thinking of an earlier answer, signed, ahead of its text."
    ),
    "reasoning_content": _error("messages[].reasoning_content", _REASONING),
    "image_url.detail": mapped("messages[].image_url.detail", f"{_DETAIL[0].upper()}{_DETAIL[1:]}."),
    "prompt_cache_breakpoint": _idle(
        "messages[].prompt_cache_breakpoint", "Of OpenAI's cache; Anthropic is not asked to cache."
    ),
    "annotations": _idle("messages[].annotations", "Notes on an earlier answer, which no model reads."),
    "name": _error("messages[].name", "has no counterpart at Anthropic; write who speaks in the text"),
    "audio": _error("messages[].audio", "of an earlier answer is OpenAI's; Claude does not speak"),
    "function_call": _error("messages[].function_call", "is not known at Anthropic; use tool_calls"),
    "last": _error(*_LAST),
}
"""What a message may hold beside its role, and where."""

FIELDS: Final = fields_of(ROLES, PARTS) | {field.name: field for field in KEYS.values()}
