"""Counts the input tokens of a text or a request before it is sent, with no network.

What is exact and what is not (`TokenCount.is_exact`):

| what | count |
|---|---|
| text of OpenAI's models: embeddings, completions | exact |
| chat of gpt-3.5-turbo and the gpt-4 family, text only | text and framing as OpenAI's cookbook has it, taken as exact |
| chat of gpt-5 and the o-series | same framing, which is not documented for them: an estimate, off by a token or so |
| tools, response formats, earlier tool calls | their JSON counted as text: an estimate, mostly high |
| images, audio, files | an estimate from their detail or their size |
| input that the provider keeps (conversations, stored prompts) | not counted: an estimate, low |
| other vendors' models | o200k_base times a factor (`models.py`): an estimate |

The framing: 3 tokens a message, 1 more for a `name`, 3 that open the answer (OpenAI cookbook, "How to count
tokens with tiktoken").

A short chat takes about 50 µs, long text 0.1 µs a character, up to 1 µs where it is one long word. Megabytes are
therefore nothing for an event loop.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from batchmill.requests.model import Endpoint
from batchmill.tokens.encodings import EncodingName, encoding
from batchmill.tokens.models import Tokenizer, tokenizer_of

_CHAT = Endpoint.CHAT  # at hand: looked up in its class for every call, it takes ten times as long
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
"""Each is one token in both encodings."""
_INSTRUCTIONS = frozenset({"system", "developer"})
"""Their text mostly stands in every line of a batch: it is counted once."""
MESSAGE_TOKENS = 3
NAME_TOKENS = 1
ANSWER_TOKENS = 3

LOW_IMAGE_TOKENS, HIGH_IMAGE_TOKENS = 85, 765
"""gpt-4o: an image in low detail, and one of 1024 x 1024 in high (OpenAI, "Images and vision")."""
MINI_IMAGE_FACTOR = 34
"""gpt-4o-mini counts an image as 33.4 times as many tokens."""
PART_TOKENS = 1_000
BYTES_A_TOKEN = 1_600
"""Audio or a file given inline is at least PART_TOKENS, else its base64 divided by this: MP3 at 16 kB/s and 10
tokens a second."""

PLAIN_MESSAGE = frozenset({"role", "content"})
"""The fields of a message that has no others."""
TEXT_TYPES = frozenset({"text", "input_text", "output_text", "summary_text", "reasoning_text", "refusal"})
"""The types of a message's parts that hold a text and nothing else."""

PIECE_CHARS = 100_000
"""tiktoken overflows its stack on a million spaces; longer text is counted in pieces."""
_SEAM_WITHIN_CHARS = 2_000
_SEAM = re.compile(r"[A-Za-z0-9](?=\s)")
"""Neither encoding has a token that spans a letter or digit and the white space after it, so a cut here changes
no count."""

_JSON_FIELDS = {
    Endpoint.CHAT: ("tools", "functions", "response_format"),
    Endpoint.RESPONSES: ("tools", "text"),
}


class TokenCount(NamedTuple):
    """How many tokens something is. A tuple, as one is made for every call.

    Attributes:
        is_exact: False for an estimate.
    """

    tokens: int
    is_exact: bool


def count_text(model: str, text: str) -> TokenCount:
    """How many tokens a text is for a model; never raises, whatever the text."""
    tally = _Tally(tokenizer_of(model))
    tally.text(text)
    return tally.result()


def count_request(model: str, endpoint: Endpoint, body: Mapping[str, Any]) -> TokenCount:
    """How many input tokens a request is.

    Args:
        body: Of a batch line that has passed the checks. What it holds that is not known here is estimated.
    """
    tally = _Tally(tokenizer_of(model))
    if endpoint is _CHAT:
        _add_messages(tally, body.get("messages"), model)
        tally.frame(ANSWER_TOKENS)
    elif endpoint is Endpoint.RESPONSES:
        _add_response(tally, body, model)
    else:
        _add_texts(tally, body.get("prompt" if endpoint is Endpoint.COMPLETIONS else "input"), model)
    for field in _JSON_FIELDS.get(endpoint, ()):
        if body.get(field) is not None:
            tally.json(body[field])
    return tally.result()


class _Tally:
    """Adds up one count."""

    __slots__ = ("_encode", "_fixed", "_is_exact", "_scaled", "_tokenizer")

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._encode = encoding(tokenizer.encoding).encode_ordinary
        self._scaled = 0
        self._fixed = 0
        self._is_exact = tokenizer.is_exact

    def text(self, text: str) -> None:
        """A text, to the token where the model's encoding is known."""
        if len(text) <= PIECE_CHARS:
            self._scaled += len(self._encode(text))
            return
        for piece, is_clean in _pieces(text):
            self._scaled += len(self._encode(piece))
            self._is_exact &= is_clean

    def message(self, role: str, text: str) -> None:
        """A message of plain text, by one of the known roles: what most requests are made of."""
        self._scaled += 1
        self._fixed += MESSAGE_TOKENS
        self._is_exact &= self._tokenizer.is_framing_exact
        if len(text) > PIECE_CHARS:
            self.text(text)
        elif role in _INSTRUCTIONS:
            self._scaled += _tokens_of(self._tokenizer.encoding, text)
        else:
            self._scaled += len(self._encode(text))

    def word(self) -> None:
        """A word that is known to be one token."""
        self._scaled += 1

    def tokens(self, number: int) -> None:
        """Text that comes as token ids already."""
        self._fixed += number

    def frame(self, number: int) -> None:
        """What a chat adds to its text."""
        self._fixed += number
        self._is_exact &= self._tokenizer.is_framing_exact

    def guess(self, number: int) -> None:
        """What is no text."""
        self._fixed += number
        self._is_exact = False

    def json(self, value: Any) -> None:
        """What the provider writes out in a way of its own."""
        self.text(orjson.dumps(value).decode())
        self._is_exact = False

    def result(self) -> TokenCount:
        """All of it."""
        scaled = -(-self._scaled * self._tokenizer.percent // 100)
        return TokenCount(scaled + self._fixed, self._is_exact)


@lru_cache(maxsize=64)
def _tokens_of(name: EncodingName, text: str) -> int:
    return len(encoding(name).encode_ordinary(text))


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces short enough, and whether each ends where no token does not."""
    begin = 0
    while len(text) - begin > PIECE_CHARS:
        end = begin + PIECE_CHARS
        seam = _SEAM.search(text, end - _SEAM_WITHIN_CHARS, end)
        end = seam.end() if seam else end
        yield text[begin:end], seam is not None
        begin = end
    yield text[begin:] if begin else text, True


def _add_messages(tally: _Tally, messages: Any, model: str) -> None:
    for message in messages if isinstance(messages, list) else ():
        if type(message) is dict and message.keys() == PLAIN_MESSAGE:
            role, content = message["role"], message["content"]
            if type(content) is str and type(role) is str and role in ROLES:
                tally.message(role, content)
                continue
        tally.frame(MESSAGE_TOKENS)
        if not isinstance(message, dict):
            tally.json(message)
            continue
        for field, value in message.items():
            if field == "content":
                _add_content(tally, value, model)
            elif field == "role" and isinstance(value, str) and value in ROLES:
                tally.word()
            elif field in ("role", "name") and isinstance(value, str):
                tally.text(value)
                tally.frame(NAME_TOKENS if field == "name" else 0)
            elif value is not None:
                tally.json(value)


def _add_response(tally: _Tally, body: Mapping[str, Any], model: str) -> None:
    """The framing of /v1/responses is not documented; that of a chat is what comes closest."""
    given = body.get("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if isinstance(body.get("instructions"), str):
        tally.text(body["instructions"])
        tally.frame(MESSAGE_TOKENS + 1)
    _add_messages(tally, messages, model)
    tally.guess(ANSWER_TOKENS)


def _add_texts(tally: _Tally, given: Any, model: str) -> None:
    """A text, token ids, or an array of either."""
    for item in given if isinstance(given, list) else [given]:
        if isinstance(item, list):
            _add_texts(tally, item, model)
        elif isinstance(item, int):
            tally.tokens(1)
        elif isinstance(item, dict):
            _add_part(tally, item, model)
        else:
            _add_content(tally, item, model)


def _add_content(tally: _Tally, content: Any, model: str) -> None:
    if isinstance(content, str):
        tally.text(content)
    elif isinstance(content, list):
        for part in content:
            _add_part(tally, part, model)
    elif content is not None:
        tally.json(content)


def _add_part(tally: _Tally, part: Any, model: str) -> None:
    is_text = isinstance(part, dict) and part.get("type", "text") in TEXT_TYPES
    if is_text and isinstance(part.get("text"), str):
        tally.text(part["text"])
    elif isinstance(part, dict) and "image" in str(part.get("type")):
        tally.guess(_image_tokens(part, model))
    else:
        tally.guess(max(PART_TOKENS, _longest_text(part) // BYTES_A_TOKEN))


def _image_tokens(part: Mapping[str, Any], model: str) -> int:
    image = part.get("image_url")
    detail = image.get("detail") if isinstance(image, dict) else part.get("detail")
    tokens = LOW_IMAGE_TOKENS if detail == "low" else HIGH_IMAGE_TOKENS
    return tokens * (MINI_IMAGE_FACTOR if "gpt-4o-mini" in model else 1)


def _longest_text(part: Any) -> int:
    """The length of the longest string in a part: what is given inline is one."""
    if isinstance(part, str):
        return len(part)
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return max(map(_longest_text, inner), default=0)
