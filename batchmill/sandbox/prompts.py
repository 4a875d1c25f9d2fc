"""Reads a call's body: what is asked, of which model, within which limits.

Raises `ComplaintError`, in OpenAI's words, for what OpenAI refuses too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from batchmill.requests.model import Endpoint
from batchmill.sandbox.outcomes import ComplaintError

MOST_CHOICES: Final = 128

_PROMPT_FIELD: Final = {
    Endpoint.CHAT: "messages",
    Endpoint.RESPONSES: "input",
    Endpoint.EMBEDDINGS: "input",
    Endpoint.COMPLETIONS: "prompt",
    Endpoint.MODERATIONS: "input",
}
_LIMIT_FIELDS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call as the sandbox understands it.

    Attributes:
        prompts: The texts to answer, one by one: several for batched embeddings or completions.
        context: Every text that counts as input, the prompts included.
        prompt_sha256: Hex digest of the endpoint and the prompt field, however spaced or ordered it came.
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


def parse_body(body: bytes) -> dict[str, Any]:
    """The body as an object."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise ComplaintError("We could not parse the JSON body of your request: it is not a JSON object.")
    return value


def read_call(endpoint: Endpoint, body: dict[str, Any]) -> Asked:
    """What the body asks of the endpoint."""
    model = body.get("model")
    if not model and endpoint is Endpoint.MODERATIONS:
        model = "omni-moderation-latest"
    if not isinstance(model, str) or not model:
        raise _missing("model")
    if body.get("stream"):
        message = "The sandbox does not stream; leave `stream` out or false."
        raise ComplaintError(message, code="unsupported_value", param="stream")
    prompt = body.get(_PROMPT_FIELD[endpoint])
    if not prompt:
        raise _missing(_PROMPT_FIELD[endpoint])
    prompts, context = _texts(endpoint, prompt, body)
    wanted = orjson.dumps([endpoint, prompt], option=orjson.OPT_SORT_KEYS)
    return Asked(
        endpoint=endpoint,
        model=model,
        body=body,
        prompts=prompts,
        context=context,
        prompt_sha256=sha256(wanted).hexdigest(),
        max_tokens=next(
            (_positive(body, name) for name in _LIMIT_FIELDS if body.get(name) is not None), None
        ),
        choices=1 if body.get("n") is None else _positive(body, "n", most=MOST_CHOICES),
    )


def _texts(endpoint: Endpoint, prompt: Any, body: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if endpoint is Endpoint.CHAT:
        return _conversation(prompt, "messages")
    if endpoint is Endpoint.RESPONSES:
        instructions = (_text_of(body.get("instructions")),)
        if isinstance(prompt, str):
            return (prompt,), (*instructions, prompt)
        question, context = _conversation(prompt, "input")
        return question, (*instructions, *context)
    prompts = _several(prompt)
    return prompts, prompts


def _conversation(messages: Any, param: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The last user message, and all of them."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        message = f"Invalid type for '{param}': expected an array of objects."
        raise ComplaintError(message, code="invalid_type", param=param)
    texts = tuple(_text_of(message.get("content")) for message in messages)
    spoken = (
        text for message, text in zip(messages, texts, strict=True) if message.get("role", "user") == "user"
    )
    return (_last(spoken),), texts


def _several(prompt: Any) -> tuple[str, ...]:
    """One text, several, one list of token numbers, several, or several content parts."""
    if isinstance(prompt, list) and any(isinstance(item, (str, list)) for item in prompt):
        return tuple(_text_of(item) for item in prompt)
    return (_text_of(prompt),)


def _text_of(content: Any) -> str:
    """The text of a content: itself, its text parts together, or token numbers written out."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        text = content.get("text")
        return text if isinstance(text, str) else ""
    if isinstance(content, list):
        numbers = bool(content) and all(isinstance(part, int) for part in content)
        return (" " if numbers else "\n").join(str(p) if numbers else _text_of(p) for p in content)
    return ""


def _last(texts: Iterable[str]) -> str:
    found = ""
    for text in texts:
        found = text
    return found


def _positive(body: dict[str, Any], name: str, most: int = 1 << 31) -> int:
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        message = f"Invalid value for '{name}': expected a whole number from 1 to {most}."
        raise ComplaintError(message, code="invalid_value", param=name)
    return value


def _missing(param: str) -> ComplaintError:
    return ComplaintError(
        f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
    )
