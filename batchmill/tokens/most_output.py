"""The most output tokens that a request can be billed for, and how a limit is put into one that has none."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from batchmill.requests.model import Endpoint
from batchmill.tokens.models import base_name

LIMIT_FIELDS: Mapping[Endpoint, tuple[str, ...]] = {
    Endpoint.CHAT: ("max_completion_tokens", "max_tokens"),
    Endpoint.COMPLETIONS: ("max_tokens",),
    Endpoint.RESPONSES: ("max_output_tokens",),
}
"""Where a request limits its answer, the field of today first; endpoints without one have no answer in tokens."""
_WITH_CHOICES = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})
_OPENAI_CHATS = ("gpt-", "chatgpt-", "o1", "o3", "o4")
_OTHERS_CHATS = ("gpt-oss",)

_SMALL_CAPS = (
    ("gpt-3.5", 4_096),
    ("gpt-4-turbo", 4_096),
    ("gpt-4-vision", 4_096),
    ("gpt-4-1106", 4_096),
    ("gpt-4-0125", 4_096),
    ("gpt-4o-2024-05-13", 4_096),
    ("gpt-4o", 16_384),
    ("chatgpt-4o", 16_384),
    ("davinci-002", 16_384),
    ("babbage-002", 16_384),
)
_SMALL_CONTEXTS = (("gpt-4", 8_192), ("gpt-4-0613", 8_192), ("gpt-4-0314", 8_192))
"""OpenAI's older models write little and refuse a limit above that; as known in 2026, from its pages on them."""


def answers_with_text(endpoint: Endpoint) -> bool:
    """Whether an answer of this endpoint is billed by its length."""
    return endpoint in LIMIT_FIELDS


def own_limit(endpoint: Endpoint, body: Mapping[str, Any]) -> int | None:
    """The longest answer that a request itself allows, in tokens; the longest if it says so twice. None if it does not.

    0 is taken at its word. What is no number of tokens, or below 0 (some servers' "no limit"), is no limit.
    """
    longest: int | None = None
    for field in LIMIT_FIELDS.get(endpoint, ()):
        limit = _whole(body[field]) if field in body else None
        if limit is not None and limit >= 0:
            longest = limit if longest is None else max(limit, longest)
    return longest


@lru_cache(maxsize=1_024)
def known_cap(model: str) -> int | None:
    """The longest answer of one of OpenAI's older models, whose limits are below any that we would set."""
    base = base_name(model)
    exact = dict(_SMALL_CONTEXTS).get(base)
    return exact or next((cap for prefix, cap in _SMALL_CAPS if base.startswith(prefix)), None)


def answer_count(endpoint: Endpoint, body: Mapping[str, Any]) -> int:
    """How many answers are written and billed: `n`, or `best_of` if that is more, to each prompt."""
    if endpoint not in _WITH_CHOICES:
        return 1
    choices = 1
    if "n" in body or "best_of" in body:
        choices = max(_whole(body.get("n")) or 1, _whole(body.get("best_of")) or 1, 1)
    prompts = body.get("prompt")
    if isinstance(prompts, list) and prompts and endpoint is Endpoint.COMPLETIONS:
        choices *= 1 if isinstance(prompts[0], int) else len(prompts)
    return choices


def most_rejected(endpoint: Endpoint, body: Mapping[str, Any]) -> int:
    """The most tokens of a prediction that are billed as output without being in the answer: each of its bytes."""
    prediction = body.get("prediction") if endpoint is Endpoint.CHAT else None
    return 0 if prediction is None else len(orjson.dumps(prediction))


def with_limit(
    endpoint: Endpoint, model: str, raw: bytes, body: Mapping[str, Any], output_tokens: int
) -> bytes:
    """The body with a limit for the longest answer, each of several, in the words of whoever serves the model.

    Args:
        raw: The body as JSON; nothing else in it changes.
    """
    field = LIMIT_FIELDS[endpoint][0]
    if endpoint is Endpoint.CHAT and not _is_openai_chat(model):
        field = "max_tokens"
    if any(name in body for name in LIMIT_FIELDS[endpoint]):  # one that says nothing, null for instance
        kept = {name: value for name, value in body.items() if name not in LIMIT_FIELDS[endpoint]}
        return orjson.dumps({**kept, field: output_tokens})
    return raw.rstrip()[:-1] + b',"%s":%d}' % (field.encode(), output_tokens)


def _is_openai_chat(model: str) -> bool:
    """OpenAI's own chat models; a vendor's prefix tells of somebody else who serves it."""
    base = base_name(model) if model.startswith("ft:") else model
    return base.startswith(_OPENAI_CHATS) and not base.startswith(_OTHERS_CHATS)


def _whole(value: Any) -> int | None:
    """A whole number, as lenient servers read one: also 12.0 and "12"."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else None
