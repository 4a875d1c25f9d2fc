"""Composes what is said, before a wire gives it its shape: deterministic texts that say that no model made them.

Three models have a manner of their own: `sandbox/refusal` refuses, what `sandbox/filtered` said is withheld,
`sandbox/empty` says nothing. A model whose name begins with `sandbox/cached` has read half of its input from a
cache, for the usage it reports; the bill knows nothing of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, NamedTuple

import orjson

from batchmill.requests.model import Endpoint
from batchmill.sandbox.bill import Tokens
from batchmill.sandbox.outcomes import NOT_A_MODEL
from batchmill.sandbox.prompts import NO_WISHES, Asked, WireName, Wishes
from batchmill.sandbox.samples import sample

BYTES_PER_TOKEN: Final = 4
THOUGHT_TOKENS: Final = 24
"""Spent on thinking where thinking is on, or fewer where the answer's limit leaves no more."""
THOUGHT: Final = f"Nothing is thought about here: this is the batchmill sandbox, {NOT_A_MODEL}."
REFUSAL: Final = f"This is the batchmill sandbox, {NOT_A_MODEL}, and it was asked to refuse."
CALL_TOOL: Final = "call_tool"
"""A prompt with this word in it is answered with a call of a tool, if it has any."""
CACHED: Final = "sandbox/cached"


class End(Enum):
    """Why an answer ended."""

    __hash__ = object.__hash__  # Enum's own is written in Python, and asked at every call

    STOP = auto()
    LENGTH = auto()
    STOP_SEQUENCE = auto()
    TOOL_CALL = auto()
    REFUSAL = auto()
    FILTERED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a tool."""

    name: str
    arguments: dict[str, Any]


class Said(NamedTuple):
    """One answer to one prompt.

    Attributes:
        tokens: Of the text or the tool call, without those of thinking.
        thought_tokens: Spent on thinking.
        stop: The text that ended it, for `STOP_SEQUENCE`.
    """

    text: str
    end: End
    tokens: int
    thought_tokens: int = 0
    tool_call: ToolCall | None = None
    stop: str = ""


class Composed(NamedTuple):
    """All that is said to a call, and what it counts.

    Attributes:
        said: One for each prompt and choice; nothing for embeddings and moderations.
        tokens: What is charged for; thinking is output.
        thought_tokens: How much of the output was thinking.
        cached_tokens: How much of the input is reported as read from a cache.
    """

    said: tuple[Said, ...]
    tokens: Tokens
    thought_tokens: int = 0
    cached_tokens: int = 0


MANNERS: Final[Mapping[str, Said]] = {
    "sandbox/refusal": Said(text=REFUSAL, end=End.REFUSAL, tokens=-(-len(REFUSAL) // BYTES_PER_TOKEN)),
    "sandbox/filtered": Said(text="", end=End.FILTERED, tokens=1),
    "sandbox/empty": Said(text="", end=End.STOP, tokens=1),
}
"""What some models say, whatever they are asked; by model."""

_BLOCKED: Final = Said(text="", end=End.REFUSAL, tokens=0)
"""Gemini refuses a prompt before anything is said."""


def count_tokens(text: str) -> int:
    """Roughly how many tokens an answer has: its UTF-8 bytes over four, rounded up. No tokenizer is asked."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def count_input_tokens(texts: Iterable[str]) -> int:
    """Roughly how many tokens these texts are to be read: as many as they have words. A tokenizer never makes less of
    them, so that the sandbox never charges more than batchmill has counted beforehand."""
    return sum(len(text.split()) for text in texts)


def compose(asked: Asked, replies: Mapping[str, str], cut_at: int | None = None) -> Composed:
    """The answer to a call.

    Args:
        replies: Text to replay, by the text of the last user message or of the prompt.
        cut_at: Most tokens of a text, below what the request itself allows; None for no such limit.
    """
    if asked.endpoint is Endpoint.MODERATIONS:
        return Composed(said=(), tokens=Tokens())
    input_tokens = count_input_tokens(asked.context)
    if asked.endpoint is Endpoint.EMBEDDINGS:
        return Composed(said=(), tokens=Tokens(input=input_tokens))
    limit = asked.max_tokens
    if cut_at is not None:
        limit = cut_at if limit is None else min(limit, cut_at)
    said = tuple(
        [_say(asked, prompt, replies, limit) for prompt in asked.prompts for _ in range(asked.choices)]
    )
    thought_tokens = sum([each.thought_tokens for each in said]) if asked.wishes.thinks else 0
    return Composed(
        said=said,
        tokens=Tokens(input=input_tokens, output=thought_tokens + sum([each.tokens for each in said])),
        thought_tokens=thought_tokens,
        cached_tokens=input_tokens // 2 if asked.model.startswith(CACHED) else 0,
    )


def _say(asked: Asked, prompt: str, replies: Mapping[str, str], limit: int | None) -> Said:
    if asked.model in MANNERS:
        said = MANNERS[asked.model]
        blocked = asked.wire is WireName.GEMINI and said.end is End.REFUSAL
        return _BLOCKED if blocked else said
    text = replies.get(prompt)
    wishes = asked.wishes
    if wishes is NO_WISHES:
        return _cut(_sentence(asked, prompt) if text is None else text, limit)
    thought_tokens = 0
    if wishes.thinks:
        thought_tokens = THOUGHT_TOKENS if limit is None else min(THOUGHT_TOKENS, limit)
        limit = None if limit is None else limit - thought_tokens
    if wishes.tools and (wishes.must_call or CALL_TOOL in prompt):
        return _call_tool(wishes, limit, thought_tokens)
    if text is None:
        text = _sentence(asked, prompt)
        if wishes.json_schema is not None:
            value = sample(wishes.json_schema) if wishes.json_schema else {"answer": text}
            text = orjson.dumps(value).decode()
    stop, text = _stopped(text, wishes.stops)
    return _cut(text, limit, thought_tokens, stop)


def _sentence(asked: Asked, prompt: str) -> str:
    return (
        f"This is the batchmill sandbox, {NOT_A_MODEL}: nothing was thought about "
        f'"{prompt[:60]}" (prompt {asked.prompt_sha256[:12]}).'
    )


def _cut(text: str, limit: int | None, thought_tokens: int = 0, stop: str = "") -> Said:
    tokens = count_tokens(text)
    if limit is None or tokens <= limit:
        end = End.STOP_SEQUENCE if stop else End.STOP
        return Said(text=text, end=end, tokens=tokens, thought_tokens=thought_tokens, stop=stop)
    cut = text.encode("utf-8", "replace")[: limit * BYTES_PER_TOKEN].decode("utf-8", "ignore")
    return Said(text=cut, end=End.LENGTH, tokens=limit, thought_tokens=thought_tokens)


def _call_tool(wishes: Wishes, limit: int | None, thought_tokens: int) -> Said:
    """A call of the first tool; half of one is never made."""
    tool = wishes.tools[0]
    arguments = sample({"type": "object", **tool.schema})
    call = ToolCall(name=tool.name, arguments=arguments if isinstance(arguments, dict) else {})
    tokens = count_tokens(call.name) + count_tokens(orjson.dumps(call.arguments).decode())
    if limit is not None and tokens > limit:
        return Said(text="", end=End.LENGTH, tokens=limit, thought_tokens=thought_tokens)
    return Said(text="", end=End.TOOL_CALL, tokens=tokens, thought_tokens=thought_tokens, tool_call=call)


def _stopped(text: str, stops: tuple[str, ...]) -> tuple[str, str]:
    """The stop that comes first in the text, "" for none, and the text before it."""
    found = [(place, stop) for stop in stops if stop and (place := text.find(stop)) >= 0]
    if not found:
        return "", text
    place, stop = min(found)
    return stop, text[:place]
