"""Reads Gemini's contents: turns of parts, and which function responses answer which function calls.

Raises `ComplaintError`, in Gemini's words, for what Gemini refuses too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from batchmill.sandbox.wires.gemini.errors import invalid
from batchmill.sandbox.wires.gemini.fields import check_base64, given, read_fields, read_list, read_text

_DATA: Final = (
    *("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode"),
    *("codeExecutionResult", "toolCall", "toolResponse"),
)
_PART_FIELDS: Final = frozenset(
    {
        *_DATA,
        *(
            "thought",
            "thoughtSignature",
            "videoMetadata",
            "mediaResolution",
            "partMetadata",
            "mediaProcessing",
        ),
        *("audioTranscription", "speechMetadata", "documentMetadata", "spreadsheetMetadata", "audioMetadata"),
    }
)
_OF_DATA: Final[Mapping[str, tuple[str, ...]]] = {
    "inlineData": ("mimeType", "data", "displayName"),
    "fileData": ("mimeType", "fileUri", "displayName"),
    "functionCall": ("id", "name", "args"),
    "functionResponse": ("id", "name", "response", "willContinue", "scheduling", "parts"),
}
_ROLES: Final = ("user", "model", "function")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One content, read.

    Attributes:
        text: Its texts together, thoughts left out.
        plain: Its parts as the prompt's digest has them: the text where there is nothing else.
        calls: How many functions it calls.
        responses: How many calls it answers.
    """

    role: str
    text: str
    plain: Any
    calls: int
    responses: int


def read_contents(contents: Any, where: str = "contents") -> list[Turn]:
    """The turns, each checked, and against those before it."""
    turns = [read_content(each, f"{where}[{place}]") for place, each in enumerate(read_list(contents, where))]
    if not turns:
        raise invalid("* GenerateContentRequest.contents: contents is not specified\n")
    for place, turn in enumerate(turns):
        called = turns[place - 1].calls if place else 0
        if turn.responses and not called:
            raise invalid(
                "Please ensure that function response turn comes immediately after a function call turn."
            )
        if called != turn.responses:
            raise invalid(
                "Please ensure that the number of function response parts is equal to the number of "
                "function call parts of the function call turn."
            )
    if turns[-1].calls:
        raise invalid("Please ensure that single turn requests end with a user role or a function response.")
    return turns


def read_content(content: Any, where: str) -> Turn:
    """One content."""
    fields = read_fields(content, where, ("role", "parts"))
    role = fields.get("role", "user")
    if role not in _ROLES:
        raise invalid("Please use a valid role: user, model.")
    parts = read_list(fields.get("parts"), f"{where}.parts")
    if not parts:
        raise invalid(f"* GenerateContentRequest.{where}.parts: contents.parts must not be empty.\n")
    read = [_part(part, f"{where}.parts[{place}]") for place, part in enumerate(parts)]
    texts = [part["text"] for part in read if "text" in part and not part.get("thought")]
    return Turn(
        role=role,
        text="\n".join(texts),
        plain=_plain(read, texts),
        calls=sum("functionCall" in part for part in read),
        responses=sum("functionResponse" in part for part in read),
    )


def _plain(parts: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> Any:
    if len(texts) < len(parts):
        return parts
    return texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]


def _part(part: Any, where: str) -> dict[str, Any]:
    fields = read_fields(part, where, _PART_FIELDS)
    data = given(fields, _DATA)
    if not data:
        raise invalid(
            f"* GenerateContentRequest.{where}.data: required oneof field 'data' must have one initialized field\n"
        )
    if len(data) > 1:
        raise invalid(f"Invalid value at '{where}' (oneof), oneof field 'data' is already set.")
    kind = data[0]
    if kind == "text":
        read_text(fields["text"], f"{where}.text")
    elif kind in _OF_DATA:
        fields[kind] = read_fields(fields[kind], f"{where}.{kind}", _OF_DATA[kind])
        _check_data(kind, fields[kind], where)
    return fields


def _check_data(kind: str, data: Mapping[str, Any], where: str) -> None:
    if kind == "inlineData":
        check_base64(data.get("data"), f"{where}.inline_data.data")
    needed = {"inlineData": "mimeType", "fileData": "fileUri"}.get(kind, "name")
    if not data.get(needed):
        raise invalid(f"* GenerateContentRequest.{where}.{kind}.{needed}: must be set.\n")
    for name in ("args", "response"):
        if not isinstance(data.get(name, {}), dict):
            raise invalid(
                f"Invalid value at '{where}.{kind}.{name}' (type.googleapis.com/google.protobuf.Struct)"
            )
    if kind == "functionResponse" and "response" not in data:
        raise invalid(f"* GenerateContentRequest.{where}.function_response.response: must be set.\n")
