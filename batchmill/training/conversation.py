"""A question and its answer, as stored, as a conversation: what every format is written from."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from batchmill.requests.model import Endpoint
from batchmill.training.model import Answered, Conversation, Reason, UnfitError

WHOLE: Final = frozenset({"stop", "tool_calls"})
_ROLES: Final = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})


def conversation_of(answered: Answered) -> Conversation:
    """The conversation that a marked answer ends.

    Sampling options, response formats and names of speakers are not in it; texts that come in parts are joined by
    line breaks; developer messages are system messages.

    Raises:
        UnfitError: It is not whole, not text, or of another shape.
    """
    if answered.question is None or answered.answer is None:
        raise UnfitError(Reason.GONE)
    if answered.endpoint not in (Endpoint.CHAT, Endpoint.COMPLETIONS):
        raise UnfitError(Reason.OTHER_ENDPOINT, answered.endpoint)
    question, answer = _object(answered.question), _object(answered.answer)
    choice = _choice(answer)
    if answered.finish_reason not in WHOLE or choice.get("finish_reason") not in WHOLE:
        raise UnfitError(Reason.INCOMPLETE, answered.finish_reason or "no finish reason")
    if answered.endpoint == Endpoint.COMPLETIONS:
        return Conversation(
            prompt=_only_text(question.get("prompt")),
            completion=_only_text(choice.get("text")),
            thread=_thread(question),
        )
    if question.get("functions") or question.get("function_call"):
        raise UnfitError(Reason.OLD_FUNCTIONS)
    asked = [_message(message) for message in _list(question.get("messages"))]
    tools = [_tool(tool) for tool in _list(question.get("tools") or [])]
    parallel = question.get("parallel_tool_calls")
    return Conversation(
        messages=[*asked, _answer(choice.get("message"))],
        tools=tools,
        parallel_tool_calls=parallel if tools and isinstance(parallel, bool) else None,
        thread=_thread(question),
    )


def _choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = _list(answer.get("choices"))
    if len(choices) > 1:
        raise UnfitError(Reason.SEVERAL_CHOICES)
    if not choices:
        raise UnfitError(Reason.MALFORMED, "no choice")
    return _members(choices[0])


def _answer(message: Any) -> dict[str, Any]:
    found = _members(message)
    if found.get("refusal"):
        raise UnfitError(Reason.REFUSAL)
    if found.get("audio"):
        raise UnfitError(Reason.NOT_TEXT, "audio")
    return _message({**found, "role": "assistant"})


def _message(given: Any) -> dict[str, Any]:
    message = _members(given)
    role = _ROLES.get(str(message.get("role")))
    if role is None or message.get("function_call"):
        raise UnfitError(
            Reason.OLD_FUNCTIONS if message.get("role") in ("function", "assistant") else Reason.MALFORMED
        )
    said: dict[str, Any] = {"role": role, "content": _text(message.get("content"))}
    if role == "assistant" and message.get("tool_calls"):
        said["tool_calls"] = [_call(call) for call in _list(message["tool_calls"])]
    if role == "tool":
        said["tool_call_id"] = _string(message.get("tool_call_id"))
    if said["content"] is None and "tool_calls" not in said:
        raise UnfitError(Reason.MALFORMED, f"a message of {role} without content")
    return said


def _text(content: Any) -> str | None:
    """What a message says; None where it says nothing."""
    if content is None or isinstance(content, str):
        return content
    texts = []
    for part in map(_members, _list(content)):
        if part.get("type") == "refusal":
            raise UnfitError(Reason.REFUSAL)
        if part.get("type") not in _TEXT_PARTS:
            raise UnfitError(Reason.NOT_TEXT, str(part.get("type")))
        texts.append(_string(part.get("text")))
    return "\n".join(texts)


def _call(given: Any) -> dict[str, Any]:
    call = _members(given)
    if call.get("type", "function") != "function":
        raise UnfitError(Reason.OTHER_TOOLS, str(call.get("type")))
    function = _members(call.get("function"))
    named = {"name": _string(function.get("name")), "arguments": _string(function.get("arguments"))}
    return {"id": _string(call.get("id")), "type": "function", "function": named}


def _tool(given: Any) -> dict[str, Any]:
    tool = _members(given)
    if tool.get("type") != "function":
        raise UnfitError(Reason.OTHER_TOOLS, str(tool.get("type")))
    function = _members(tool.get("function"))
    _string(function.get("name"))
    return {"type": "function", "function": dict(function)}


def _thread(question: Mapping[str, Any]) -> str:
    metadata = question.get("metadata")
    thread = metadata.get("conversation_id") if isinstance(metadata, dict) else None
    return thread if isinstance(thread, str) else ""


def _only_text(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if not isinstance(value, str):
        raise UnfitError(
            Reason.MALFORMED, "several prompts, or tokens" if isinstance(value, list) else "no text"
        )
    return value


def _object(text: str) -> Mapping[str, Any]:
    try:
        return _members(orjson.loads(text))
    except orjson.JSONDecodeError:
        raise UnfitError(Reason.MALFORMED, "not JSON") from None


def _members(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UnfitError(Reason.MALFORMED)
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UnfitError(Reason.MALFORMED)
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise UnfitError(Reason.MALFORMED)
    return value
