"""What a message holds: OpenAI's parts as Anthropic's blocks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from batchmill.providers.anthropic.rules import Row, fields_of, idle, mapped, unsaid
from batchmill.providers.anthropic.values import a_text, an_object, shown
from batchmill.providers.wire import UntranslatableError

Block = Mapping[str, Any]

_IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF: Final = "application/pdf"
_AUDIO: Final = "cannot be sent: Claude does not listen"
_DETAIL: Final = "can only be auto or high at Anthropic, which always looks closely"


def write_content(content: Any, kinds: Sequence[str], where: str) -> list[Block]:
    """The blocks of a message's content, none where it says nothing.

    Args:
        kinds: What its parts may be.
        where: The message's place in the request.

    Raises:
        UntranslatableError: Something in it cannot be said.
    """
    param = f"{where}.content"
    if content is None or isinstance(content, str):
        return write_text(content or "", param)
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


def write_text(text: Any, param: str) -> list[Block]:
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


PARTS: Final[Mapping[str, Row[Callable[[Any, str], list[Block]]]]] = {
    "text": Row(mapped("messages[].text", "A text block. White space alone is an error."), write_text),
    "image_url": Row(
        mapped("messages[].image_url", "An image by its https: address, or base64 of a data: URL."), _image
    ),
    "file": Row(mapped("messages[].file", "A PDF as a document; a `file_id` is an error."), _file),
    "input_audio": Row(unsaid("messages[].input_audio", _AUDIO), _audio),
    "refusal": Row(mapped("messages[].refusal", "A text block of the assistant's."), write_text),
}

FIELDS: Final = fields_of(PARTS) | {
    field.name: field
    for field in (
        mapped("messages[].image_url.detail", f"{_DETAIL[0].upper()}{_DETAIL[1:]}."),
        idle("messages[].prompt_cache_breakpoint", "Of OpenAI's cache; Anthropic is not asked to cache."),
    )
}
