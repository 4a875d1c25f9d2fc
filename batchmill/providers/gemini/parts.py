"""The parts of a message: texts, images, sound, files.

Facts: ai.google.dev/api/caching (Part) and docs/file-input-methods.
"""

from collections.abc import Mapping
from typing import Any, Final

from batchmill.providers.fields import Field, Support
from batchmill.providers.gemini import shapes
from batchmill.providers.gemini.rules import Rule, mapped
from batchmill.providers.gemini.turns import RESOLUTIONS, Part, Turn
from batchmill.providers.wire import UntranslatableError

_AUDIO: Final = ("wav", "mp3", "aiff", "aac", "ogg", "flac")
_IMAGE_OF_SUFFIX: Final[Mapping[str, str]] = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
}
REFUSAL_NOTE: Final = "A text part: Gemini has no other word for it."


def _text(turn: Turn, part: Any, param: str) -> None:
    found = shapes.known(part, param, ("type", "text", "prompt_cache_breakpoint"))
    turn.parts.append({"text": shapes.text(shapes.required(found, "text", param), f"{param}.text")})


def _refusal_part(turn: Turn, part: Any, param: str) -> None:
    found = shapes.known(part, param, ("type", "refusal"))
    turn.parts.append({"text": shapes.text(shapes.required(found, "refusal", param), f"{param}.refusal")})


def _image(turn: Turn, part: Any, param: str) -> None:
    found = shapes.known(part, param, ("type", "image_url", "prompt_cache_breakpoint"))
    inner = f"{param}.image_url"
    image = shapes.known(shapes.required(found, "image_url", param), inner, ("url", "detail"))
    detail = shapes.text(image.get("detail", "auto"), f"{inner}.detail")
    if detail not in (*RESOLUTIONS, "auto"):
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


def _sound(turn: Turn, part: Any, param: str) -> None:
    found = shapes.known(part, param, ("type", "input_audio", "prompt_cache_breakpoint"))
    inner = f"{param}.input_audio"
    sound = shapes.known(shapes.required(found, "input_audio", param), inner, ("data", "format"))
    form = shapes.text(shapes.required(sound, "format", inner), f"{inner}.format")
    if form not in _AUDIO:
        raise UntranslatableError(f"{inner}.format", f"must be one of {', '.join(_AUDIO)}")
    data = shapes.base64_of(shapes.required(sound, "data", inner), f"{inner}.data")
    turn.parts.append(_inline(shapes.Blob(f"audio/{form}", data)))


def _file(turn: Turn, part: Any, param: str) -> None:
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


PARTS: Final[Mapping[str, Rule[Turn]]] = {
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
    "refusal": mapped("messages[].refusal", REFUSAL_NOTE, _refusal_part),
}
WITHIN: Final = (
    Field(
        name="messages[].image_url.detail",
        support=Support.MAPPED,
        note="low and high become the media resolution, one for all media of the request; original is an error.",
    ),
    Field(
        name="messages[].prompt_cache_breakpoint",
        support=Support.NOT_APPLICABLE,
        note="Gemini finds what is cached by itself.",
    ),
)
"""Rows of what is seen to above, within other fields."""
