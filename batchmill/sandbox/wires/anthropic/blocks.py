"""Reads the content of Anthropic's messages: strings or blocks, and which tool results answer which tool calls.

Raises `ComplaintError`, in Anthropic's words, for what Anthropic refuses too.
"""

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from batchmill.sandbox.wires.anthropic.errors import invalid

NEW_VERSION: Final = "2026-10-21"

_IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_OF_SERVER_TOOLS: Final = ("server_tool_use", "container_upload", "search_result", "redacted_thinking")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message, read.

    Attributes:
        text: Its text blocks together, those of its tool results included.
        said: Its own text alone.
        plain: Its content as the prompt's digest has it: the text where there is nothing else.
        calls: Ids of the tools it calls.
        results: Ids of the calls whose results it brings.
    """

    role: str
    text: str
    said: str
    plain: Any
    calls: tuple[str, ...]
    results: tuple[str, ...]


def read_turns(messages: Any, version: str) -> list[Turn]:
    """The messages, each checked, and against those before it."""
    if not isinstance(messages, list):
        raise invalid("messages", "Input should be a valid list")
    if not messages:
        raise invalid("messages", "at least one message is required")
    turns = [_turn(message, place, version, len(messages)) for place, message in enumerate(messages)]
    if turns[0].role != "user":
        raise invalid("messages", 'first message must use the "user" role')
    _match_results(turns)
    return turns


def read_system(system: Any) -> str:
    """The system prompt; "" where there is none."""
    if isinstance(system, str):
        return system
    if not isinstance(system, list):
        raise invalid("system", "Input should be a valid string or list")
    for place, block in enumerate(system):
        if not isinstance(block, dict) or block.get("type") != "text":
            raise invalid(f"system.{place}.type", "Input should be 'text'")
        _text_block(block, f"system.{place}")
    return "\n".join(block["text"] for block in system)


def _turn(message: Any, place: int, version: str, count: int) -> Turn:
    where = f"messages.{place}"
    if not isinstance(message, dict):
        raise invalid(where, "Input should be an object")
    only(message, where, ("role", "content"))
    role, content = str(message.get("role")), message.get("content")
    if role not in ("user", "assistant", *(("system",) if version == NEW_VERSION else ())):
        raise invalid(f"{where}.role", "Input should be 'user' or 'assistant'")
    if content is None:
        raise invalid(f"{where}.content", "Field required")
    if not content and not (role == "assistant" and place == count - 1):
        raise invalid(where, f"{role} messages must have non-empty content")
    if isinstance(content, str):
        return Turn(role=role, text=content, said=content, plain=content, calls=(), results=())
    if not isinstance(content, list):
        raise invalid(f"{where}.content", "Input should be a valid string or list")
    return _turn_of_blocks(role, content, f"{where}.content", version)


def _turn_of_blocks(role: str, blocks: list[Any], where: str, version: str) -> Turn:
    for place, block in enumerate(blocks):
        _check_block(role, block, f"{where}.{place}", version)
    said = "\n".join(block["text"] for block in blocks if block["type"] == "text")
    results = [block for block in blocks if block["type"] == "tool_result"]
    heard = (_text_of_result(block.get("content")) for block in results)
    return Turn(
        role=role,
        text="\n".join(filter(None, (*heard, said))),
        said=said,
        plain=said if [block["type"] for block in blocks] == ["text"] else blocks,
        calls=tuple(block["id"] for block in blocks if block["type"] == "tool_use"),
        results=tuple(block["tool_use_id"] for block in results),
    )


def _match_results(turns: Sequence[Turn]) -> None:
    for place, turn in enumerate(turns):
        called = turns[place - 1].calls if place else ()
        for id in turn.results:
            if id not in called:
                what = (
                    f"unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block "
                    "must have a corresponding `tool_use` block in the previous message."
                )
                raise invalid(f"messages.{place}.content", what)
        answered = turns[place + 1].results if place + 1 < len(turns) else ()
        if missing := [id for id in turn.calls if id not in answered]:
            what = (
                f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. "
                "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            )
            raise invalid(f"messages.{place}", what)


def _check_block(role: str, block: Any, where: str, version: str) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        raise invalid(f"{where}.type", "Field required")
    if kind in _OF_SERVER_TOOLS or kind.endswith("_tool_result"):
        return
    check = _CHECKS.get(kind)
    if check is None:
        expected = ", ".join(f"'{name}'" for name in _CHECKS)
        raise invalid(
            where,
            f"Input tag '{kind}' found using 'type' does not match any of the expected tags: {expected}",
        )
    if kind in ("tool_use", "thinking") and role != "assistant":
        raise invalid(where, f"`{kind}` blocks can only be in `assistant` messages")
    if kind in ("tool_result", "image") and role != "user":
        raise invalid(where, f"`{kind}` blocks can only be in `user` messages")
    if version == NEW_VERSION:
        _check_new(role, kind, block, where)
    check(block, where)


def _check_new(role: str, kind: str, block: Mapping[str, Any], where: str) -> None:
    """What the version of October 2026 no longer takes."""
    if kind == "document" and role == "assistant":
        raise invalid(where, "`document` blocks can only be in `user` messages")
    if kind == "text" and role == "user" and block.get("citations"):
        raise invalid(f"{where}.text.citations", "Extra inputs are not permitted")


def _text_block(block: Mapping[str, Any], where: str) -> None:
    only(block, f"{where}.text", ("type", "text", "cache_control", "citations"))
    text = block.get("text")
    if not isinstance(text, str):
        raise invalid(f"{where}.text.text", "Input should be a valid string")
    if not text.strip():
        empty = "must contain non-whitespace text" if text else "must be non-empty"
        raise invalid("messages", f"text content blocks {empty}")


def _image_block(block: Mapping[str, Any], where: str) -> None:
    only(block, f"{where}.image", ("type", "source", "cache_control"))
    _check_source(block.get("source"), f"{where}.image.source", _IMAGES)


def _document_block(block: Mapping[str, Any], where: str) -> None:
    only(block, f"{where}.document", ("type", "source", "cache_control", "citations", "context", "title"))
    source = block.get("source")
    if isinstance(source, dict) and source.get("type") in ("text", "content"):
        if source["type"] == "text" and source.get("media_type") != "text/plain":
            raise invalid(f"{where}.document.source.text.media_type", "Input should be 'text/plain'")
        return
    _check_source(source, f"{where}.document.source", ("application/pdf",))


def _check_source(source: Any, where: str, media_types: Sequence[str]) -> None:
    kind = source.get("type") if isinstance(source, dict) else None
    if kind == "base64":
        only(source, f"{where}.base64", ("type", "media_type", "data"))
        if source.get("media_type") not in media_types:
            expected = " or ".join(f"'{name}'" for name in media_types)
            raise invalid(f"{where}.base64.media_type", f"Input should be {expected}")
        _check_base64(source.get("data"), f"{where}.base64.data")
    elif kind == "url":
        if not str(source.get("url", "")).startswith(("https://", "http://")):
            raise invalid(f"{where}.url.url", "Only HTTPS URLs are supported.")
    elif kind != "file":
        raise invalid(where, "Input should be of type 'base64', 'url' or 'file'")


def _check_base64(data: Any, where: str) -> None:
    try:
        whole = b64decode(data, validate=True) if isinstance(data, str) else b""
    except (binascii.Error, ValueError):
        whole = b""
    if not whole:
        raise invalid(where, "Input should be valid base64")


def _tool_use_block(block: Mapping[str, Any], where: str) -> None:
    only(block, f"{where}.tool_use", ("type", "id", "name", "input", "cache_control", "caller"))
    for name, kind in (("id", str), ("name", str), ("input", dict)):
        if not isinstance(block.get(name), kind):
            what = "dictionary" if kind is dict else "string"
            raise invalid(f"{where}.tool_use.{name}", f"Input should be a valid {what}")


def _tool_result_block(block: Mapping[str, Any], where: str) -> None:
    only(block, f"{where}.tool_result", ("type", "tool_use_id", "content", "is_error", "cache_control"))
    if not isinstance(block.get("tool_use_id"), str):
        raise invalid(f"{where}.tool_result.tool_use_id", "Field required")
    if not isinstance(block.get("content", ""), (str, list)):
        raise invalid(f"{where}.tool_result.content", "Input should be a valid string or list")


def _thinking_block(block: Mapping[str, Any], where: str) -> None:
    only(block, f"{where}.thinking", ("type", "thinking", "signature"))
    for name in ("thinking", "signature"):
        if not isinstance(block.get(name), str):
            raise invalid(f"{where}.thinking.{name}", "Field required")


_CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any], str], None]]] = {
    "text": _text_block,
    "image": _image_block,
    "document": _document_block,
    "tool_use": _tool_use_block,
    "tool_result": _tool_result_block,
    "thinking": _thinking_block,
}


def _text_of_result(content: Any) -> str:
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def only(value: Mapping[str, Any], where: str, names: Sequence[str]) -> None:
    """Refuse what has a field that is none of these."""
    for name in value:
        if name not in names:
            raise invalid(f"{where}.{name}" if where else name, "Extra inputs are not permitted")
