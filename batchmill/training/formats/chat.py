"""What the formats that are made of messages have in common: OpenAI's and Hugging Face's."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from batchmill.training.rules import unknown_members

ROLES: Final = ("system", "user", "assistant", "tool")
_MESSAGE: Final = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "weight", "refusal"})


def message_faults(messages: Any, *, arguments_as_text: bool) -> Iterator[str]:
    """What is wrong with the messages of an example: roles, contents, calls and their results, the end."""
    if not isinstance(messages, list) or not messages:
        yield "messages is no array, or empty"
        return
    waiting: set[str] = set()
    known: set[str] = set()
    for nth, message in enumerate(messages):
        what = f"messages[{nth}]"
        if not isinstance(message, dict):
            yield f"{what} is no object"
            continue
        yield from unknown_members(message, _MESSAGE, what)
        role = message.get("role")
        if role not in ROLES:
            yield f"{what}.role is {role!r}; it takes {', '.join(ROLES)}"
        if waiting and role != "tool":
            yield f"{what} comes before the results of the calls of tools above it"
            waiting.clear()
        yield from _content_faults(message, what)
        if role == "tool":
            call = message.get("tool_call_id")
            if call not in known:
                yield f"{what}.tool_call_id names no call before it"
            waiting.discard(str(call))
        if message.get("tool_calls") is not None:
            made = list(_calls(message["tool_calls"]))
            yield from _call_faults(message, made, what, arguments_as_text=arguments_as_text)
            waiting = {str(call.get("id")) for call in made}
            known |= waiting
    roles = [message.get("role") for message in messages if isinstance(message, dict)]
    if roles and roles[-1] != "assistant":
        yield "the last message is not the assistant's"
    if "user" not in roles:
        yield "there is no message of the user"


def _content_faults(message: Mapping[str, Any], what: str) -> Iterator[str]:
    content = message.get("content")
    if content is None:
        if not message.get("tool_calls"):
            yield f"{what}.content is missing"
    elif isinstance(content, list):
        for nth, part in enumerate(content):
            if not isinstance(part, dict) or part.get("type") not in ("text", "image_url"):
                yield f"{what}.content[{nth}] is neither text nor image_url"
    elif not isinstance(content, str):
        yield f"{what}.content is neither a text nor an array of parts"
    elif not content and message.get("role") == "assistant" and not message.get("tool_calls"):
        yield f"{what}.content is empty: there is nothing to learn from"


def _calls(calls: Any) -> Iterator[Mapping[str, Any]]:
    for call in calls if isinstance(calls, list) else []:
        if isinstance(call, dict):
            yield call


def _call_faults(
    message: Mapping[str, Any], made: list[Mapping[str, Any]], what: str, *, arguments_as_text: bool
) -> Iterator[str]:
    calls = message["tool_calls"]
    if message.get("role") != "assistant":
        yield f"{what}.tool_calls: only an assistant calls tools"
    if not isinstance(calls, list) or not calls or len(made) != len(calls):
        yield f"{what}.tool_calls is no array of objects, or empty"
    for nth, call in enumerate(made):
        function = call.get("function")
        if call.get("type") != "function" or not isinstance(function, dict):
            yield f"{what}.tool_calls[{nth}] is no call of a function"
            continue
        if not isinstance(function.get("name"), str):
            yield f"{what}.tool_calls[{nth}].function.name is missing"
        arguments = function.get("arguments")
        if arguments_as_text and not _is_json_object(arguments):
            yield f"{what}.tool_calls[{nth}].function.arguments is no text that holds a JSON object"
        if not arguments_as_text and not isinstance(arguments, dict):
            yield f"{what}.tool_calls[{nth}].function.arguments is no object"


def _is_json_object(text: Any) -> bool:
    try:
        return isinstance(text, str) and isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def tool_faults(example: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the tools of an example, or with their absence."""
    tools = example.get("tools")
    called = {
        call["function"].get("name")
        for message in example.get("messages") or ()
        if isinstance(message, dict)
        for call in _calls(message.get("tool_calls"))
        if isinstance(call.get("function"), dict)
    }
    if tools is None:
        if called:
            yield "tools are called, and there is no member tools that defines them"
        return
    if not isinstance(tools, list):
        yield "tools is no array"
        return
    defined = set()
    for nth, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if (
            not isinstance(function, dict)
            or tool.get("type") != "function"
            or not isinstance(function.get("name"), str)
        ):
            yield f"tools[{nth}] is no function with a name"
        else:
            defined.add(function["name"])
    for name in sorted(str(name) for name in called - defined):
        yield f'the tool "{name}" is called and not defined'
