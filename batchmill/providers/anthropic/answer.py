"""A message of Anthropic's as an answer of OpenAI's chat completions, and what it used up.

Facts: wire-facts §3 and the types of Anthropic's SDK 2.14.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from batchmill.providers.anthropic.rules import mapped

FINISH_REASONS: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # cut short on its way, and to be paid for
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Anthropic's `stop_reason`s in OpenAI's words, as its clients take no others."""
_NEW: Final = "length"
"""That of a reason which is not known: no whole answer."""

_TIERS: Final[Mapping[str, str]] = {"standard": "default", "priority": "priority"}
_THINKING: Final = ("thinking", "redacted_thinking")
_MOST_TOKENS: Final = 10**12


def read_answer(answer: Any, created: int) -> Mapping[str, Any] | None:
    """The answer in OpenAI's shape; None when it is no finished message.

    A message that ended without a word is an answer: it may have been thought, and is paid for.

    Args:
        created: Seconds since the epoch; Anthropic does not say when.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("content"), list):
        return None
    reason = answer.get("stop_reason")
    if not isinstance(reason, str) or not reason:
        return None
    usage = read_usage(answer)
    tier = _TIERS.get(_text(_object(answer.get("usage")).get("service_tier")))
    return {
        "id": _text(answer.get("id")),
        "object": "chat.completion",
        "created": created,
        "model": _text(answer.get("model")),
        "choices": [
            {
                "index": 0,
                "message": _message(answer),
                "logprobs": None,
                "finish_reason": FINISH_REASONS.get(reason, _NEW),
                "native_finish_reason": reason,
            }
        ],
        **({"usage": usage} if usage is not None else {}),
        **({"service_tier": tier} if tier is not None else {}),
    }


def read_usage(answer: Any) -> Mapping[str, Any] | None:
    """The usage in OpenAI's shape; None where none is named. Anthropic counts what its cache had a part in apart."""
    usage = _object(_object(answer).get("usage"))
    fresh, output = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    if fresh is None or output is None:
        return None
    lives = _object(usage.get("cache_creation"))
    for_an_hour = _count(lives.get("ephemeral_1h_input_tokens")) or 0
    by_life = for_an_hour + (_count(lives.get("ephemeral_5m_input_tokens")) or 0)
    written = max(_count(usage.get("cache_creation_input_tokens")) or 0, by_life)
    cached = _count(usage.get("cache_read_input_tokens")) or 0
    thought = _count(_object(usage.get("output_tokens_details")).get("thinking_tokens"))
    prompt = fresh + written + cached
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {
            "cached_tokens": cached,
            "cache_write_tokens": written,
            # Of OpenAI's two lives of a cache the longer stands for Anthropic's hour, as `answers.read_usage` has it.
            **({"cache_write_tokens_details": {"ttl_12h_tokens": for_an_hour}} if for_an_hour else {}),
        },
        "completion_tokens_details": {"reasoning_tokens": min(thought or 0, output)},
    }


def _message(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    blocks = [block for block in answer["content"] if isinstance(block, dict)]
    calls = [_call(block) for block in blocks if block.get("type") == "tool_use"]
    texts = _texts(blocks, "text")
    thoughts = [block for block in blocks if block.get("type") in _THINKING]
    reasoning = "\n\n".join(_texts(blocks, "thinking"))
    others = [b for b in blocks if b.get("type") not in ("text", "tool_use", *_THINKING)]
    return {
        "role": "assistant",
        "content": "".join(texts) if texts or not calls else None,
        "refusal": _refusal(answer),
        **({"reasoning_content": reasoning} if reasoning else {}),
        **({"thinking_blocks": thoughts} if thoughts else {}),
        **({"tool_calls": calls} if calls else {}),
        **({"other_blocks": others} if others else {}),
    }


def _texts(blocks: Sequence[Mapping[str, Any]], kind: str) -> list[str]:
    return [_text(block.get(kind)) for block in blocks if block.get("type") == kind]


def _call(block: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = orjson.dumps(block.get("input", {})).decode()
    return {
        "id": _text(block.get("id")),
        "type": "function",
        "function": {"name": _text(block.get("name")), "arguments": arguments},
    }


def _refusal(answer: Mapping[str, Any]) -> str | None:
    details = _object(answer.get("stop_details"))
    return _text(details.get("explanation")) or _text(details.get("category")) or None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None


FIELDS: Final = {
    field.name: field
    for field in (
        *(
            mapped(
                f"finish_reason={word}",
                ", ".join(f"`{reason}`" for reason, meant in FINISH_REASONS.items() if meant == word)
                + (
                    ", and any that is new. `native_finish_reason` is always Anthropic's."
                    if word == _NEW
                    else "."
                ),
            )
            for word in ("stop", "length", "tool_calls", "content_filter")
        ),
        mapped("message.content", "The text blocks, put together; null only beside tool calls."),
        mapped("message.tool_calls", "The `tool_use` blocks, their input as JSON text."),
        mapped("message.refusal", "What `stop_details` explains, or its category."),
        mapped(
            "message.reasoning_content",
            "The text of the thinking; the blocks with their signatures are in `message.thinking_blocks`.",
        ),
        mapped(
            "usage", "Input with what the cache had a part in, output with thinking; hour-long writes apart."
        ),
    )
}
