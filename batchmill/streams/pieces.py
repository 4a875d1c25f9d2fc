"""Takes a whole answer apart into the events that a provider of OpenAI's wire would have streamed it in."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from batchmill.requests.model import Endpoint
from batchmill.streams.events import LAST, event_of

STREAMED: Final = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES})
"""The endpoints whose answers may be had in pieces."""

_WORD = re.compile(r"\s*\S+\s*|\s+")
_BESIDE: Final = frozenset({"choices", "usage", "object"})
_TEXTS: Final = ("content", "refusal", "reasoning_content", "reasoning")


def pieces_of(
    endpoint: Endpoint, answer: Mapping[str, Any], *, with_usage: bool = False, by_words: bool = False
) -> Iterator[bytes]:
    """Yield the events of an answer, its end included.

    Args:
        with_usage: Tell the usage in a last piece, as `stream_options.include_usage` asks. A response always tells it.
        by_words: Cut texts into words, as a model's tokens would come.
    """
    if endpoint is Endpoint.RESPONSES:
        yield from _response(answer, by_words)
        return
    is_chat = endpoint is Endpoint.CHAT
    beside = {name: value for name, value in answer.items() if name not in _BESIDE}
    beside["object"] = "chat.completion.chunk" if is_chat else "text_completion"
    if with_usage:
        beside["usage"] = None
    for choice in answer.get("choices") or ():
        for piece in _of_chat(choice, by_words) if is_chat else _of_completion(choice, by_words):
            yield event_of({**beside, "choices": [piece]})
    if with_usage and answer.get("usage") is not None:
        yield event_of({**beside, "choices": [], "usage": answer["usage"]})
    yield LAST


def _of_chat(choice: Mapping[str, Any], by_words: bool) -> Iterator[dict[str, Any]]:
    index, message = choice.get("index", 0), choice.get("message") or {}
    first: dict[str, Any] = {"role": message.get("role") or "assistant"}
    if message.get("content") is not None:
        first["content"] = ""
    if "refusal" in message:
        first["refusal"] = None
    yield _piece(index, first)
    logprobs = choice.get("logprobs")
    for name in _TEXTS:
        for text in _cut(message.get(name), by_words):
            yield _piece(index, {name: text}, logprobs=logprobs)
            logprobs = None
    for place, call in enumerate(message.get("tool_calls") or ()):
        yield _piece(index, {"tool_calls": [{"index": place, **call}]})
    others = {
        name: value
        for name, value in message.items()
        if name not in ("role", "tool_calls", *_TEXTS) and value is not None
    }
    if others:
        yield _piece(index, others)
    yield _piece(index, {}, finish_reason=choice.get("finish_reason"))


def _piece(
    index: int, delta: Mapping[str, Any], *, logprobs: Any = None, finish_reason: Any = None
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


def _of_completion(choice: Mapping[str, Any], by_words: bool) -> Iterator[dict[str, Any]]:
    beside = {"index": choice.get("index", 0), "finish_reason": None}
    logprobs = choice.get("logprobs")
    for text in _cut(choice.get("text"), by_words):
        yield {**beside, "text": text, "logprobs": logprobs}
        logprobs = None
    yield {**beside, "text": "", "logprobs": None, "finish_reason": choice.get("finish_reason")}


def _cut(text: Any, by_words: bool) -> Iterable[str]:
    if not isinstance(text, str) or not text:
        return ()
    return _WORD.findall(text) if by_words else (text,)


def _response(response: Mapping[str, Any], by_words: bool) -> Iterator[bytes]:
    """The events of a response, numbered; see the official SDK's types."""
    unfinished = {
        **response,
        "status": "in_progress",
        "output": [],
        "usage": None,
        "incomplete_details": None,
    }
    status = response.get("status")
    last = f"response.{status}" if status in ("incomplete", "failed") else "response.completed"
    events: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": unfinished}),
        ("response.in_progress", {"response": unfinished}),
    ]
    for place, item in enumerate(response.get("output") or ()):
        events += _of_item({"output_index": place, "item_id": item.get("id", "")}, item, by_words)
    events.append((last, {"response": response}))
    for number, (name, said) in enumerate(events):
        yield event_of({"type": name, "sequence_number": number, **said}, name)


def _of_item(
    at: Mapping[str, Any], item: Mapping[str, Any], by_words: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    begun: dict[str, Any] = {**item, "status": "in_progress"} if "status" in item else {**item}
    place = {"output_index": at["output_index"]}
    if item.get("type") == "message":
        yield "response.output_item.added", {**place, "item": {**begun, "content": []}}
        for index, part in enumerate(item.get("content") or ()):
            yield from _of_part({**at, "content_index": index}, part, by_words)
    elif item.get("type") == "function_call":
        yield "response.output_item.added", {**place, "item": {**begun, "arguments": ""}}
        arguments = item.get("arguments") or ""
        yield "response.function_call_arguments.delta", {**at, "delta": arguments}
        done = {**at, "name": item.get("name", ""), "arguments": arguments}
        yield "response.function_call_arguments.done", done
    else:
        yield "response.output_item.added", {**place, "item": begun}
    yield "response.output_item.done", {**place, "item": item}


def _of_part(
    at: Mapping[str, Any], part: Mapping[str, Any], by_words: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    is_refusal = part.get("type") == "refusal"
    field, word = ("refusal", "refusal") if is_refusal else ("text", "output_text")
    text = part.get(field) or ""
    beside: dict[str, Any] = {} if is_refusal else {"logprobs": []}
    yield "response.content_part.added", {**at, "part": {**part, field: ""}}
    for piece in _cut(text, by_words):
        yield f"response.{word}.delta", {**at, **beside, "delta": piece}
    yield f"response.{word}.done", {**at, **beside, field: text}
    yield "response.content_part.done", {**at, "part": part}
