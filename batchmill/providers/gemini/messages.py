"""A conversation in OpenAI's messages, as Gemini's contents and system instruction.

Facts: ai.google.dev/api/caching (Content), docs/function-calling and docs/thought-signatures. Gemini knows two
roles, `user` and `model`; instructions stand apart.
"""

from collections.abc import Mapping, Sequence
from json import loads
from typing import Any, Final

from batchmill.providers.fields import Field, Support
from batchmill.providers.gemini import shapes
from batchmill.providers.gemini.parts import PARTS, REFUSAL_NOTE
from batchmill.providers.gemini.rules import Rule, follow, ignored, mapped, refused
from batchmill.providers.gemini.turns import Conversation, Part, Turn
from batchmill.providers.wire import UntranslatableError


def read(messages: Any, model_fetches: bool) -> Conversation:
    """The conversation that messages tell.

    Raises:
        UntranslatableError: There is something in it that Gemini has no word for, or no turn in it at all.
    """
    conversation = Conversation(model_fetches=model_fetches)
    for index, message in enumerate(shapes.items(messages, "messages")):
        param = f"messages[{index}]"
        found = dict(shapes.members(message, param))
        role = shapes.text(shapes.required(found, "role", param), f"{param}.role")
        del found["role"]
        if role not in ROLES:
            raise UntranslatableError(f"{param}.role", "is none that there is")
        ROLES[role].write(conversation, found, param)
    if not conversation.contents:
        raise UntranslatableError("messages", "must hold more than instructions: Gemini answers to a turn")
    return conversation


# roles


def _instruct(conversation: Conversation, message: Mapping[str, Any], param: str) -> None:
    turn = Turn(conversation=conversation)
    follow(INSTRUCTION, turn, message, param)
    conversation.instructions += [part["text"] for part in _spoken(turn, param)]


def _user(conversation: Conversation, message: Mapping[str, Any], param: str) -> None:
    turn = Turn(conversation=conversation)
    follow(USER, turn, message, param)
    conversation.say("user", _spoken(turn, param))


def _assistant(conversation: Conversation, message: Mapping[str, Any], param: str) -> None:
    turn = Turn(conversation=conversation)
    follow(ASSISTANT, turn, message, param)
    conversation.say("assistant", _spoken(turn, param))


def _tool(conversation: Conversation, message: Mapping[str, Any], param: str) -> None:
    call_id = shapes.text(shapes.required(message, "tool_call_id", param), f"{param}.tool_call_id")
    if call_id not in conversation.names:
        raise UntranslatableError(
            f"{param}.tool_call_id",
            "answers no call of an assistant message before it, which names the function",
        )
    turn = Turn(conversation=conversation)
    follow(TOOL, turn, message, param)
    output = "".join(part["text"] for part in _spoken(turn, param))
    response = {"id": call_id, "name": conversation.names[call_id], "response": {"output": output}}
    conversation.say("tool", [{"functionResponse": response}])


def _spoken(turn: Turn, param: str) -> list[Part]:
    """What a message says; an empty text only where it says nothing else."""
    if not turn.parts:
        raise UntranslatableError(f"{param}.content", "is missing")
    return [part for part in turn.parts if part != {"text": ""}] or turn.parts[:1]


# members of messages


def _texts(turn: Turn, content: Any, param: str) -> None:
    _content(turn, content, param, ("text",))


def _texts_and_refusals(turn: Turn, content: Any, param: str) -> None:
    _content(turn, content, param, ("text", "refusal"))


def _anything(turn: Turn, content: Any, param: str) -> None:
    _content(turn, content, param, tuple(PARTS))


def _content(turn: Turn, content: Any, param: str, kinds: Sequence[str]) -> None:
    if isinstance(content, str):
        turn.parts.append({"text": content})
        return
    for index, part in enumerate(shapes.items(content, param)):
        inner = f"{param}[{index}]"
        kind = shapes.text(shapes.required(shapes.members(part, inner), "type", inner), f"{inner}.type")
        if kind not in kinds:
            raise UntranslatableError(f"{inner}.type", f"must be one of {', '.join(kinds)} here")
        PARTS[kind].write(turn, part, inner)


def _refusal(turn: Turn, refusal: Any, param: str) -> None:
    turn.parts.append({"text": shapes.text(refusal, param)})


def _sign(turn: Turn, extra: Any, param: str) -> None:
    """The signature of a text; of calls each has its own."""
    signature = _signature(extra, param)
    if signature is not None:
        if not turn.parts:
            turn.parts.append({"text": ""})
        turn.parts[-1]["thoughtSignature"] = signature


def _call_tools(turn: Turn, calls: Any, param: str) -> None:
    for index, call in enumerate(shapes.items(calls, param)):
        _call_tool(turn, call, f"{param}[{index}]")


def _call_tool(turn: Turn, call: Any, param: str) -> None:
    # Some clients keep the `index` of streams.
    found = shapes.known(call, param, ("id", "type", "function", "extra_content", "index"))
    if found.get("type", "function") != "function":
        raise UntranslatableError(f"{param}.type", "must be 'function': Gemini's models call nothing else")
    inner = f"{param}.function"
    function = shapes.known(shapes.required(found, "function", param), inner, ("name", "arguments"))
    call_id = shapes.text(shapes.required(found, "id", param), f"{param}.id")
    name = shapes.text(shapes.required(function, "name", inner), f"{inner}.name")
    turn.conversation.names[call_id] = name
    arguments = _arguments(shapes.required(function, "arguments", inner), f"{inner}.arguments")
    part: Part = {"functionCall": {"id": call_id, "name": name, "args": arguments}}
    signature = _signature(found.get("extra_content"), f"{param}.extra_content")
    if signature is not None:
        part["thoughtSignature"] = signature
    turn.parts.append(part)


def _arguments(value: Any, param: str) -> Mapping[str, Any]:
    """The object that a text of JSON holds; "" is an empty one."""
    written = shapes.text(value, param)
    try:
        return shapes.members(loads(written, parse_constant=_no_constant) if written.strip() else {}, param)
    except (ValueError, RecursionError) as error:
        raise UntranslatableError(param, "is not JSON") from error


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _signature(extra: Any, param: str) -> str | None:
    """`google.thought_signature`, as Gemini's own OpenAI endpoint has it."""
    if extra is None:
        return None
    google = shapes.known(extra, param, ("google",)).get("google", {})
    signature = shapes.known(google, f"{param}.google", ("thought_signature",)).get("thought_signature")
    return None if signature is None else shapes.base64_of(signature, f"{param}.google.thought_signature")


_CONTENT_NOTE: Final = (
    "Texts and other parts of a turn, in order. Instructions and answers of tools are text only; the latter are "
    "told to the letter, as `output`."
)
_NAME: Final = refused(
    "messages[].name", "has no place in Gemini's conversations: say in the text who speaks"
)
_CALL_ID: Final[Rule[Turn]] = mapped(
    "messages[].tool_call_id",
    "Also gives the function's name, which is looked up in the assistant message that made the call.",
    lambda turn, value, param: None,
)

INSTRUCTION: Final[Mapping[str, Rule[Turn]]] = {
    "content": mapped("messages[].content", _CONTENT_NOTE, _texts),
    "name": _NAME,
}
USER: Final[Mapping[str, Rule[Turn]]] = {
    "content": mapped("messages[].content", _CONTENT_NOTE, _anything),
    "name": _NAME,
}
ASSISTANT: Final[Mapping[str, Rule[Turn]]] = {
    "content": mapped("messages[].content", _CONTENT_NOTE, _texts_and_refusals),
    "refusal": mapped("messages[].refusal", REFUSAL_NOTE, _refusal),
    "extra_content": mapped(
        "messages[].extra_content",
        "`google.thought_signature` goes back to the text it came with, as at Gemini's OpenAI endpoint.",
        _sign,
    ),
    "tool_calls": mapped(
        "messages[].tool_calls",
        "Function calls with their ids, the arguments as an object; `extra_content.google.thought_signature` "
        "goes back to the call it came with.",
        _call_tools,
    ),
    "reasoning_content": ignored(
        "messages[].reasoning_content", "Gemini takes no thoughts back, only their signatures."
    ),
    "thinking_blocks": ignored(
        "messages[].thinking_blocks", "Another vendor's thoughts, of which Gemini can make nothing."
    ),
    "annotations": ignored("messages[].annotations", "Marks of an earlier answer; they say nothing new."),
    "audio": refused("messages[].audio", "is of an answer that OpenAI keeps: give its text", neutral=({},)),
    "function_call": refused("messages[].function_call", "is out of use: give tool_calls"),
    "name": _NAME,
}
TOOL: Final[Mapping[str, Rule[Turn]]] = {
    "tool_call_id": _CALL_ID,
    "content": mapped("messages[].content", _CONTENT_NOTE, _texts),
    "name": ignored("messages[role=tool].name", "The call that is answered has the function's name."),
}

ROLES: Final[Mapping[str, Rule[Conversation]]] = {
    "system": mapped(
        "messages[].role=system",
        "Part of the system instruction; several are joined in order by a blank line, also those that come "
        "later in the conversation.",
        _instruct,
    ),
    "developer": mapped("messages[].role=developer", "The same as system.", _instruct),
    "user": mapped("messages[].role=user", "A turn of the user; messages in a row become one turn.", _user),
    "assistant": mapped(
        "messages[].role=assistant", "A turn of the model; messages in a row become one turn.", _assistant
    ),
    "tool": mapped(
        "messages[].role=tool", "A function response; those in a row become one turn of the user.", _tool
    ),
    "function": refused("messages[].role=function", "has the role function, which is out of use: give tool"),
}

WITHIN: Final = (
    Field(
        name="messages[last].role=assistant",
        support=Support.MAPPED,
        note="Sent as it is; Gemini goes on where the message ends.",
    ),
)
"""Rows of what is seen to above, within other fields."""
