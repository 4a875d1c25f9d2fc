"""What a call asks, whichever wire it came by: of which model, within which limits, in which form."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson

from batchmill.requests.model import Endpoint


class WireName(StrEnum):
    """Whose API a call speaks."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the answer may call; `schema` is the JSON schema of its arguments."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The form an answer is to have.

    Attributes:
        tools: Those that may be called now; none once the conversation ends with a tool's result.
        must_call: Whether one of them has to be called.
        json_schema: What the answer's JSON has to look like, empty for any object; None when text will do.
        stops: Texts at which the answer ends, themselves left out.
        thinks: Whether tokens are spent on thinking first.
        shows_thoughts: Whether the answer tells what was thought.
        tops: How many tokens are told in each place, with their probabilities; None tells of no probability.
    """

    tools: tuple[Tool, ...] = ()
    must_call: bool = False
    json_schema: Mapping[str, Any] | None = None
    stops: tuple[str, ...] = ()
    thinks: bool = False
    shows_thoughts: bool = False
    tops: int | None = None


NO_WISHES: Final = Wishes()


class Asked(NamedTuple):
    """A call as the sandbox understands it.

    Attributes:
        prompts: The texts to answer, one by one: several for batched embeddings or completions.
        context: Every text that counts as input, the prompts included.
        prompt_sha256: Hex digest of the endpoint and the prompt, however spaced or ordered it came. A
            conversation of plain texts has the same one on every wire.
        max_tokens: Most tokens of an answer; None when the request does not bound it.
        choices: How many answers to each prompt.
    """

    endpoint: Endpoint
    model: str
    body: dict[str, Any]
    prompts: tuple[str, ...]
    context: tuple[str, ...]
    prompt_sha256: str
    max_tokens: int | None
    choices: int
    wire: WireName = WireName.OPENAI
    wishes: Wishes = NO_WISHES


def digest(endpoint: Endpoint, prompt: Any) -> str:
    """What tells one prompt from another."""
    return sha256(orjson.dumps([endpoint, prompt], option=orjson.OPT_SORT_KEYS)).hexdigest()


def read_object(body: bytes) -> dict[str, Any] | None:
    """The body as an object; None when it is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
