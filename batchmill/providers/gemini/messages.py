"""A conversation in OpenAI's messages, as Gemini's contents and system instruction.

Facts: ai.google.dev/api/caching (Content, Part), docs/function-calling, docs/thought-signatures and
docs/file-input-methods. Gemini knows two roles, `user` and `model`; instructions stand apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from json import loads
from typing import Any, Final

from batchmill.providers.gemini import shapes
from batchmill.providers.gemini.rules import Rule, follow, ignored, mapped, refused
from batchmill.providers.wire import UntranslatableError

Part = dict[str, Any]

_AUDIO: Final = ("wav", "mp3", "aiff", "aac", "ogg", "flac")
_IMAGE_OF_SUFFIX: Final[Mapping[str, str]] = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
}
_RESOLUTIONS: Final[Mapping[str, str]] = {
    "low": "MEDIA_RESOLUTION_LOW",
    "high": "MEDIA_RESOLUTION_HIGH",
}


@dataclass(slots=True, kw_only=True)
class Conversation:
    """What has been read of the messages so far.

    Attributes:
        model_fetches: Whether the model fetches URLs.
        instructions: The texts of all system and developer messages, in order.
        names: The functions' names by the ids of the calls.
        details: How closely each image is to be looked at, and other media: `auto`.
    """

    model_fetches: bool
    instructions: list[str] = field(default_factory=list)
    contents: list[dict[str, Any]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    details: set[str] = field(default_factory=set)
    _speaker: str = ""

    def say(self, speaker: str, parts: list[Part]) -> None:
        """Add what somebody says; to what the same has just said, if so."""
        if self._speaker == speaker:
            self.contents[-1]["parts"] += parts
        else:
            self.contents.append({"role": "model" if speaker == "assistant" else "user", "parts": parts})
        self._speaker = speaker

    def resolution(self) -> str | None:
        """Gemini's word for the details that images are looked at in; None leaves it to the model."""
        if len(self.details) > 1:
            raise UntranslatableError(
                "messages", "ask for different details of their media: Gemini takes one for all"
            )
        return next((_RESOLUTIONS[detail] for detail in self.details if detail in _RESOLUTIONS), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One message while it is read."""

    conversation: Conversation
    parts: list[Part] = field(default_factory=list)


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
    turn = _Turn(conversation=conversation)
    follow(INSTRUCTION, turn, message, param)
    conversation.instructions += [part["text"] for part in _spoken(turn, param)]


def _user(conversation: Conversation, message: Mapping[str, Any], param: str) -> None:
    turn = _Turn(conversation=conversation)
    follow(USER, turn, message, param)
    conversation.say("user", _spoken(turn, param))


def _assistant(conversation: Conversation, message: Mapping[str, Any], param: str) -> None:
    turn = _Turn(conversation=conversation)
    follow(ASSISTANT, turn, message, param)
    conversation.say("assistant", _spoken(turn, param))


def _tool(conversation: Conversation, message: Mapping[str, Any], param: str) -> None:
    call_id = shapes.text(shapes.required(message, "tool_call_id", param), f"{param}.tool_call_id")
    if call_id not in conversation.names:
        raise UntranslatableError(
            f"{param}.tool_call_id",
            "answers no call of an assistant message before it, which names the function",
        )
    turn = _Turn(conversation=conversation)
    follow(TOOL, turn, message, param)
    output = "".join(part["text"] for part in _spoken(turn, param))
    response = {"id": call_id, "name": conversation.names[call_id], "response": {"output": output}}
    conversation.say("tool", [{"functionResponse": response}])


def _spoken(turn: _Turn, param: str) -> list[Part]:
    """What a message says; an empty text only where it says nothing else."""
    if not turn.parts:
        raise UntranslatableError(f"{param}.content", "is missing")
    return [part for part in turn.parts if part != {"text": ""}] or turn.parts[:1]


# members of messages


def _texts(turn: _Turn, content: Any, param: str) -> None:
    _content(turn, content, param, ("text",))


def _texts_and_refusals(turn: _Turn, content: Any, param: str) -> None:
    _content(turn, content, param, ("text", "refusal"))


def _anything(turn: _Turn, content: Any, param: str) -> None:
    _content(turn, content, param, tuple(PARTS))


def _content(turn: _Turn, content: Any, param: str, kinds: Sequence[str]) -> None:
    if isinstance(content, str):
        turn.parts.append({"text": content})
        return
    for index, part in enumerate(shapes.items(content, param)):
        inner = f"{param}[{index}]"
        kind = shapes.text(shapes.required(shapes.members(part, inner), "type", inner), f"{inner}.type")
        if kind not in kinds:
            raise UntranslatableError(f"{inner}.type", f"must be one of {', '.join(kinds)} here")
        PARTS[kind].write(turn, part, inner)


def _refusal(turn: _Turn, refusal: Any, param: str) -> None:
    turn.parts.append({"text": shapes.text(refusal, param)})


def _sign(turn: _Turn, extra: Any, param: str) -> None:
    """The signature of a text; of calls each has its own."""
    signature = _signature(extra, param)
    if signature is not None:
        if not turn.parts:
            turn.parts.append({"text": ""})
        turn.parts[-1]["thoughtSignature"] = signature


def _call_tools(turn: _Turn, calls: Any, param: str) -> None:
    for index, call in enumerate(shapes.items(calls, param)):
        _call_tool(turn, call, f"{param}[{index}]")


def _call_tool(turn: _Turn, call: Any, param: str) -> None:
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


# parts of messages


def _text(turn: _Turn, part: Any, param: str) -> None:
    found = shapes.known(part, param, ("type", "text", "prompt_cache_breakpoint"))
    turn.parts.append({"text": shapes.text(shapes.required(found, "text", param), f"{param}.text")})


def _refusal_part(turn: _Turn, part: Any, param: str) -> None:
    found = shapes.known(part, param, ("type", "refusal"))
    turn.parts.append({"text": shapes.text(shapes.required(found, "refusal", param), f"{param}.refusal")})


def _image(turn: _Turn, part: Any, param: str) -> None:
    found = shapes.known(part, param, ("type", "image_url", "prompt_cache_breakpoint"))
    inner = f"{param}.image_url"
    image = shapes.known(shapes.required(found, "image_url", param), inner, ("url", "detail"))
    detail = shapes.text(image.get("detail", "auto"), f"{inner}.detail")
    if detail not in (*_RESOLUTIONS, "auto"):
        raise UntranslatableError(f"{inner}.detail", "must be auto, low or high")
    turn.conversation.details.add(detail)
    url = shapes.text(shapes.required(image, "url", inner), f"{inner}.url")
    if url.startswith("data:"):
        turn.parts.append(_inline(shapes.data_url(url, f"{inner}.url")))
    else:
        turn.parts.append(_fetched(url, f"{inner}.url", turn.conversation.model_fetches))


def _fetched(url: str, param: str, model_fetches: bool) -> Part:
    if not url.startswith("https://"):
        raise UntranslatableError(param, "must be an https: or data: URL")
    if not model_fetches:
        raise UntranslatableError(param, "is not fetched for this model: give the image as a data: URL")
    file = {"fileUri": url}
    address = url.split("?")[0].split("#")[0].lower()
    mime = next((mime for suffix, mime in _IMAGE_OF_SUFFIX.items() if address.endswith(suffix)), None)
    return {"fileData": file if mime is None else file | {"mimeType": mime}}


def _sound(turn: _Turn, part: Any, param: str) -> None:
    found = shapes.known(part, param, ("type", "input_audio", "prompt_cache_breakpoint"))
    inner = f"{param}.input_audio"
    sound = shapes.known(shapes.required(found, "input_audio", param), inner, ("data", "format"))
    form = shapes.text(shapes.required(sound, "format", inner), f"{inner}.format")
    if form not in _AUDIO:
        raise UntranslatableError(f"{inner}.format", f"must be one of {', '.join(_AUDIO)}")
    data = shapes.base64_of(shapes.required(sound, "data", inner), f"{inner}.data")
    turn.parts.append(_inline(shapes.Blob(f"audio/{form}", data)))


def _file(turn: _Turn, part: Any, param: str) -> None:
    found = shapes.known(part, param, ("type", "file", "prompt_cache_breakpoint"))
    inner = f"{param}.file"
    file = shapes.known(shapes.required(found, "file", param), inner, ("file_data", "file_id", "filename"))
    if "file_id" in file:
        raise UntranslatableError(
            f"{inner}.file_id", "is of a file that Gemini does not have: give file_data"
        )
    data = shapes.text(shapes.required(file, "file_data", inner), f"{inner}.file_data")
    turn.conversation.details.add("auto")
    turn.parts.append(_inline(shapes.data_url(data, f"{inner}.file_data")))


def _inline(blob: shapes.Blob) -> Part:
    return {"inlineData": {"mimeType": blob.mime, "data": blob.data}}


_CONTENT_NOTE: Final = (
    "Texts and other parts of a turn, in order. Instructions and answers of tools are text only; the latter are "
    "told to the letter, as `output`."
)
_REFUSAL_NOTE: Final = "A text part: Gemini has no other word for it."
_NAME: Final = refused(
    "messages[].name", "has no place in Gemini's conversations: say in the text who speaks"
)
_CALL_ID: Final[Rule[_Turn]] = mapped(
    "messages[].tool_call_id",
    "Also gives the function's name, which is looked up in the assistant message that made the call.",
    lambda turn, value, param: None,
)

PARTS: Final[Mapping[str, Rule[_Turn]]] = {
    "text": mapped("messages[].text", "A text part.", _text),
    "image_url": mapped(
        "messages[].image_url",
        "A data: URL becomes inline data; an https: URL is fetched by Gemini (not for models before 2.5).",
        _image,
    ),
    "input_audio": mapped(
        "messages[].input_audio",
        "Inline data; besides wav and mp3 also aiff, aac, ogg and flac.",
        _sound,
    ),
    "file": mapped(
        "messages[].file",
        "`file_data`, a data: URL, becomes inline data; the file name is not told. `file_id` is an error.",
        _file,
    ),
    "refusal": mapped("messages[].refusal", _REFUSAL_NOTE, _refusal_part),
}

INSTRUCTION: Final[Mapping[str, Rule[_Turn]]] = {
    "content": mapped("messages[].content", _CONTENT_NOTE, _texts),
    "name": _NAME,
}
USER: Final[Mapping[str, Rule[_Turn]]] = {
    "content": mapped("messages[].content", _CONTENT_NOTE, _anything),
    "name": _NAME,
}
ASSISTANT: Final[Mapping[str, Rule[_Turn]]] = {
    "content": mapped("messages[].content", _CONTENT_NOTE, _texts_and_refusals),
    "refusal": mapped("messages[].refusal", _REFUSAL_NOTE, _refusal),
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
TOOL: Final[Mapping[str, Rule[_Turn]]] = {
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
    mapped(
        "messages[].image_url.detail",
        "low and high become the media resolution, one for all media of the request; original is an error.",
        _image,
    ),
    ignored("messages[].prompt_cache_breakpoint", "Gemini finds what is cached by itself."),
    mapped(
        "messages[last].role=assistant", "Sent as it is; Gemini goes on where the message ends.", _assistant
    ),
)
"""Rows of what the rules above see to themselves."""
