"""Composes the body of a request from a prompt and what goes with it, as each endpoint wants it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchmill.requests.model import Endpoint

WITH_SYSTEM_PROMPT = (Endpoint.CHAT, Endpoint.RESPONSES)
"""The endpoints that know messages; the others take a text and nothing else."""

COMPOSED = ("model", "messages", "input", "prompt", "instructions", "stream")
"""The fields of a body that are made here, and therefore cannot be options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a plain line or a row asks.

    Attributes:
        context: A text that goes before the prompt, or messages that go between system prompt and prompt.
        options: Go into the body as they are; none of `COMPOSED`.
    """

    model: str
    prompt: str
    system_prompt: str = ""
    context: str | Sequence[Mapping[str, Any]] = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def compose(endpoint: Endpoint, question: Question) -> dict[str, Any]:
    """The body of the request. Only `WITH_SYSTEM_PROMPT` endpoints may be given a system prompt or messages."""
    prompt, messages = question.prompt, []
    if isinstance(question.context, str):
        prompt = f"{question.context}\n\n{prompt}" if question.context else prompt
    else:
        messages = list(question.context)
    body: dict[str, Any] = {"model": question.model}
    if endpoint is Endpoint.CHAT:
        system = [{"role": "system", "content": question.system_prompt}] if question.system_prompt else []
        body["messages"] = [*system, *messages, {"role": "user", "content": prompt}]
    elif endpoint is Endpoint.RESPONSES:
        if question.system_prompt:
            body["instructions"] = question.system_prompt
        body["input"] = [*messages, {"role": "user", "content": prompt}] if messages else prompt
    else:
        body["prompt" if endpoint is Endpoint.COMPLETIONS else "input"] = prompt
    return body | dict(question.options)
