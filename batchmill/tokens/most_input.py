"""The most input tokens that a request can be billed for, whatever the tokenizer.

A token stands for one byte of text at least, and a body's JSON has no fewer bytes than the text in it, its
framing and its tools: that bounds all text. What comes as something else has an allowance, chosen to lie well above
what vendors were known to bill for it in late 2026, and its base64 does not count as text:

| what | tokens at most |
|---|---|
| what a chat template or a hidden prompt adds | FRAME_TOKENS, with tools TOOLS_TOKENS more |
| an image, inline or by its address | IMAGE_TOKENS, in low detail LOW_IMAGE_TOKENS; gpt-4o-mini: five times as many |
| inline sound | one for AUDIO_CHARS_A_TOKEN characters of base64: 32 a second at 6 kbit/s |
| an inline file | one for FILE_CHARS_A_TOKEN characters of base64, UNSEEN_TOKENS at most |
| what is not in the request | UNSEEN_TOKENS each |

Not in the request are: a file by its id, an earlier response, a conversation, a stored prompt, video, and what a hosted
tool (web search, file search, MCP) brings back.

Honest weaknesses: what is not in the request may be longer than its allowance, a hosted tool may be used often,
and a tokenizer that first rewrites its text (NFKC) may make more of it than bytes. A call that was dearer than its
bound raises the bounds of its model (`batchmill.money.bounds`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from batchmill.requests.checks import CONTENT
from batchmill.requests.model import Endpoint
from batchmill.tokens.count import PLAIN_MESSAGE, TEXT_TYPES, count_request
from batchmill.tokens.models import tokenizer_of

FRAME_TOKENS = 100
TOOLS_TOKENS = 1_000
IMAGE_TOKENS, LOW_IMAGE_TOKENS = 10_000, 1_000
MINI_IMAGE_FACTOR = 5
AUDIO_CHARS_A_TOKEN = 25
FILE_CHARS_A_TOKEN = 4
LEAST_FILE_TOKENS = 10_000
UNSEEN_TOKENS = 200_000

_UNFRAMED = frozenset({Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS, Endpoint.MODERATIONS})
_COUNTED = _UNFRAMED | {Endpoint.CHAT}
"""How /v1/responses frames its text is not documented."""

_LEAST_INLINE_CHARS = 1_000

_UNSEEN_FIELDS: Mapping[Endpoint, tuple[str, ...]] = {
    Endpoint.CHAT: ("web_search_options", "search_parameters", "plugins", "data_sources", "cached_content"),
    Endpoint.RESPONSES: ("previous_response_id", "conversation", "prompt"),
}
_TOOL_FIELDS = ("tools", "functions")
_OWN_TOOLS = ("function", "custom", "local_shell", "apply_patch", None)
_MORE_FIELDS = frozenset({*_TOOL_FIELDS, *_UNSEEN_FIELDS[Endpoint.CHAT], *_UNSEEN_FIELDS[Endpoint.RESPONSES]})
_UNCOUNTED_FIELDS = ("suffix", *_TOOL_FIELDS, *_UNSEEN_FIELDS[Endpoint.CHAT])


class MostInput(NamedTuple):
    """The most input tokens of a request. A tuple, as one is made for every call.

    Attributes:
        is_exact: It is the very number.
        has_audio: Some of it may be sound, which has a price of its own.
    """

    tokens: int
    is_exact: bool = False
    has_audio: bool = False


def most_input(model: str, endpoint: Endpoint, body: Mapping[str, Any], body_bytes: int) -> MostInput:
    """The most input tokens of a request: exactly so many where the tokenizer and the framing are known.

    Args:
        body_bytes: The length of the body as JSON.
    """
    if _may_be_exact(model, endpoint, body):
        counted = count_request(model, endpoint, body)
        if counted.is_exact:
            return MostInput(tokens=counted.tokens, is_exact=True)
    return most_input_by_bytes(model, endpoint, body, body_bytes)


def most_input_by_bytes(
    model: str, endpoint: Endpoint, body: Mapping[str, Any], body_bytes: int
) -> MostInput:
    """The same without counting, also where that could be done."""
    content = body.get(CONTENT[endpoint][0])
    has_more, is_plain = not body.keys().isdisjoint(_MORE_FIELDS), _is_plain(content)
    if is_plain and not has_more:
        return MostInput(tokens=body_bytes + FRAME_TOKENS)
    beyond = _BeyondText(model)
    if has_more:
        beyond.add_fields(endpoint, body)
    if not is_plain:
        beyond.add(content, is_part=False)
    return MostInput(tokens=body_bytes + FRAME_TOKENS + beyond.tokens, has_audio=beyond.has_audio)


def _may_be_exact(model: str, endpoint: Endpoint, body: Mapping[str, Any]) -> bool:
    """Whether counting is worth its time."""
    tokenizer = tokenizer_of(model)
    is_known = tokenizer.is_exact if endpoint in _UNFRAMED else tokenizer.is_framing_exact
    return is_known and endpoint in _COUNTED and body.keys().isdisjoint(_UNCOUNTED_FIELDS)


def _is_plain(content: Any) -> bool:
    """Whether a glance shows that there is nothing but text, as in most requests."""
    if not isinstance(content, list):
        return isinstance(content, str)
    for message in content:  # no generator: this is done for every call
        if (
            type(message) is not dict
            or message.keys() != PLAIN_MESSAGE
            or type(message["content"]) is not str
        ):
            return False
    return True


class _BeyondText:
    """Adds up the allowances for what is no text, less the characters in the body that stand for it."""

    def __init__(self, model: str) -> None:
        self._is_openai = tokenizer_of(model).is_exact
        self._factor = MINI_IMAGE_FACTOR if "gpt-4o-mini" in model else 1
        self.tokens = 0
        self.has_audio = False

    def add_fields(self, endpoint: Endpoint, body: Mapping[str, Any]) -> None:
        """What the request refers to, and its tools."""
        for field in _UNSEEN_FIELDS.get(endpoint, ()):
            if body.get(field) is not None:
                self.tokens += UNSEEN_TOKENS
        for field in _TOOL_FIELDS:
            if tools := body.get(field):
                self.tokens += TOOLS_TOKENS + UNSEEN_TOKENS * _hosted(tools)

    def add(self, value: Any, *, is_part: bool) -> None:
        """What is in a message, a list of them, or anything in it.

        Args:
            is_part: The value is in a message's content, where what is not known to be text may be anything.
        """
        if isinstance(value, list):
            for item in value:
                if isinstance(item, (dict, list)):
                    self.add(item, is_part=is_part)
        elif isinstance(value, dict) and not self._add_medium(value, is_part=is_part):
            for name, inner in value.items():
                if isinstance(inner, (dict, list)):
                    self.add(inner, is_part=name in ("content", "output"))

    def _add_medium(self, part: Mapping[str, Any], *, is_part: bool) -> bool:
        """Add the allowance for what is no text; whether that was all there is in the part."""
        kind = str(part.get("type", ""))
        if kind in TEXT_TYPES:
            return True
        if "audio" in part:  # an earlier answer of the model's, by its id
            self.has_audio = True
            self.tokens += UNSEEN_TOKENS
            return False
        if "image" in kind or "screenshot" in kind or "image_url" in part:
            self.tokens += self._image_tokens(part) - _inline_chars(part)
        elif "audio" in kind:
            inline = _inline_chars(part)
            self.has_audio = True
            self.tokens += inline // AUDIO_CHARS_A_TOKEN - inline if inline else UNSEEN_TOKENS
        elif is_part or kind == "item_reference":
            inline = _inline_chars(part)
            small = max(LEAST_FILE_TOKENS, inline // FILE_CHARS_A_TOKEN)
            self.tokens += min(UNSEEN_TOKENS, small) - inline if inline else UNSEEN_TOKENS
        else:
            return False
        return True

    def _image_tokens(self, part: Mapping[str, Any]) -> int:
        image = part.get("image_url")
        detail = image.get("detail") if isinstance(image, dict) else part.get("detail")
        is_low = detail == "low" and self._is_openai
        return (LOW_IMAGE_TOKENS if is_low else IMAGE_TOKENS) * self._factor


def _hosted(tools: Any) -> int:
    """How many of the tools the provider runs, and reads what they bring."""
    given = tools if isinstance(tools, list) else [tools]
    return sum(not isinstance(tool, dict) or tool.get("type") not in _OWN_TOOLS for tool in given)


def _inline_chars(value: Any) -> int:
    """The length of the longest string in a part that is data, in base64, and no text."""
    if isinstance(value, str):
        is_data = value.startswith("data:") or len(value) >= _LEAST_INLINE_CHARS
        return len(value) if is_data and value.isascii() and " " not in value else 0
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(map(_inline_chars, inner), default=0)
