"""Composes answers in OpenAI's shapes: deterministic texts and vectors that say that no model made them."""

import base64
import math
import time
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import shake_256
from typing import Any, Final

from batchmill.requests.model import Endpoint
from batchmill.sandbox.bill import Tokens
from batchmill.sandbox.outcomes import NOT_A_MODEL, ComplaintError
from batchmill.sandbox.prompts import Asked

BYTES_PER_TOKEN: Final = 4
DEFAULT_DIMENSIONS: Final = 1536
MOST_DIMENSIONS: Final = 4096

_CATEGORIES: Final = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """An answer and what it counts."""

    answer: dict[str, Any]
    tokens: Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """One written text and why it ended, `stop` or `length`."""

    text: str
    end: str
    tokens: int


def count_tokens(text: str) -> int:
    """Roughly how many tokens an answer has: its UTF-8 bytes over four, rounded up. No tokenizer is asked."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def count_input_tokens(texts: Iterable[str]) -> int:
    """Roughly how many tokens these texts are to be read: as many as they have words. A tokenizer never makes less of
    them, so that the sandbox never charges more than batchmill has counted beforehand."""
    return sum(len(text.split()) for text in texts)


def compose(asked: Asked, replies: Mapping[str, str], request_id: str, cut_at: int | None = None) -> Composed:
    """The answer to a call.

    Args:
        replies: Text to replay, by the text of the last user message or of the prompt.
        request_id: Makes the answer's own id.
        cut_at: Most tokens of a text, below what the request itself allows; None for no such limit.
    """
    input_tokens = count_input_tokens(asked.context)
    if asked.endpoint is Endpoint.EMBEDDINGS:
        return _embeddings(asked, input_tokens)
    if asked.endpoint is Endpoint.MODERATIONS:
        return _moderations(asked, request_id)
    limit = asked.max_tokens
    if cut_at is not None:
        limit = cut_at if limit is None else min(limit, cut_at)
    texts = [_write(asked, prompt, replies, limit) for prompt in asked.prompts for _ in range(asked.choices)]
    tokens = Tokens(input=input_tokens, output=sum(text.tokens for text in texts))
    if asked.endpoint is Endpoint.RESPONSES:
        return Composed(answer=_response(asked, texts[0], tokens, request_id), tokens=tokens)
    return Composed(answer=_choices(asked, texts, tokens, request_id), tokens=tokens)


def _write(asked: Asked, prompt: str, replies: Mapping[str, str], limit: int | None) -> _Text:
    text = replies.get(prompt)
    if text is None:
        text = (
            f"This is the batchmill sandbox, {NOT_A_MODEL}: nothing was thought about "
            f'"{prompt[:60]}" (prompt {asked.prompt_sha256[:12]}).'
        )
    tokens = count_tokens(text)
    if limit is None or tokens <= limit:
        return _Text(text=text, end="stop", tokens=tokens)
    cut = text.encode("utf-8", "replace")[: limit * BYTES_PER_TOKEN].decode("utf-8", "ignore")
    return _Text(text=cut, end="length", tokens=limit)


def _choices(asked: Asked, texts: list[_Text], tokens: Tokens, request_id: str) -> dict[str, Any]:
    chat = asked.endpoint is Endpoint.CHAT
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{request_id}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": asked.model,
        "choices": [_choice(index, text, chat=chat) for index, text in enumerate(texts)],
        "usage": {
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "system_fingerprint": "batchmill-sandbox-not-a-model",
        "sandbox": NOT_A_MODEL,
    }


def _choice(index: int, text: _Text, *, chat: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"text": text.text}
    if chat:
        said = {"message": {"role": "assistant", "content": text.text, "refusal": None}}
    return {"index": index, **said, "logprobs": None, "finish_reason": text.end}


def _response(asked: Asked, text: _Text, tokens: Tokens, request_id: str) -> dict[str, Any]:
    status = "completed" if text.end == "stop" else "incomplete"
    content = {"type": "output_text", "text": text.text, "annotations": []}
    message = {
        "id": f"msg_{request_id}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [content],
    }
    return {
        "id": f"resp_{request_id}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": None if text.end == "stop" else {"reason": "max_output_tokens"},
        "instructions": asked.body.get("instructions"),
        "max_output_tokens": asked.max_tokens,
        "model": asked.model,
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "metadata": asked.body.get("metadata") or {},
        "usage": {
            "input_tokens": tokens.input,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens.input + tokens.output,
        },
        "sandbox": NOT_A_MODEL,
    }


def _embeddings(asked: Asked, input_tokens: int) -> Composed:
    dimensions = asked.body.get("dimensions") or DEFAULT_DIMENSIONS
    if not isinstance(dimensions, int) or not 1 <= dimensions <= MOST_DIMENSIONS:
        message = f"Invalid value for 'dimensions': expected a whole number from 1 to {MOST_DIMENSIONS}."
        raise ComplaintError(message, code="invalid_value", param="dimensions")
    in_base64 = asked.body.get("encoding_format") == "base64"
    vectors = (embed(text, dimensions) for text in asked.prompts)
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(v) if in_base64 else v.tolist()}
        for index, v in enumerate(vectors)
    ]
    answer = {
        "object": "list",
        "data": data,
        "model": asked.model,
        "usage": {"prompt_tokens": input_tokens, "total_tokens": input_tokens},
        "sandbox": NOT_A_MODEL,
    }
    return Composed(answer=answer, tokens=Tokens(input=input_tokens))


@lru_cache(maxsize=256)
def embed(text: str, dimensions: int) -> "array[float]":
    """A unit vector of 32-bit floats made from the text's hash: same text, same vector; no meaning in it."""
    raw = shake_256(text.encode("utf-8", "replace")).digest(2 * dimensions)
    numbers = [value or 1 for value in memoryview(raw).cast("h")]
    length = math.hypot(*numbers)
    return array("f", (value / length for value in numbers))


def _base64(vector: "array[float]") -> str:
    return base64.b64encode(vector.tobytes()).decode("ascii")


def _moderations(asked: Asked, request_id: str) -> Composed:
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.0),
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
    answer = {
        "id": f"modr-{request_id}",
        "model": asked.model,
        "results": [result for _ in asked.prompts],
        "sandbox": NOT_A_MODEL,
    }
    return Composed(answer=answer, tokens=Tokens())
