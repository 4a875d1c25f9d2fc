"""Prompt and completion, two texts: what base models and TRL's prompt-completion datasets take.

A chat goes in where it is one question and one text: the system prompt and the question, an empty line between them,
are the prompt.
"""

from collections.abc import Iterator
from typing import Any, Final

from batchmill.training.model import Conversation, Reason, UnfitError
from batchmill.training.rules import FileRules, unknown_members

RULES: Final = FileRules(source="Hugging Face TRL: Dataset formats and types, prompt-completion")
_EXAMPLE: Final = frozenset({"prompt", "completion"})


def write(conversation: Conversation) -> dict[str, Any]:
    """The example.

    Raises:
        UnfitError: There are several turns, or tools.
    """
    if conversation.prompt is not None:
        return {"prompt": conversation.prompt, "completion": conversation.completion}
    *before, answer = conversation.messages
    roles = [message["role"] for message in before]
    is_single = roles.count("user") == 1 and roles[-1] == "user" and set(roles) <= {"system", "user"}
    if not is_single or conversation.tools or "tool_calls" in answer:
        raise UnfitError(Reason.SEVERAL_TURNS)
    prompt = "\n\n".join(message["content"] for message in before if message["content"])
    return {"prompt": prompt, "completion": answer["content"]}


def faults(example: Any) -> Iterator[str]:
    """What is wrong with a line."""
    if not isinstance(example, dict):
        yield "it is no object"
        return
    yield from unknown_members(example, _EXAMPLE, "the example")
    for name in sorted(_EXAMPLE):
        if not isinstance(example.get(name), str):
            yield f"{name} is no text"
    if example.get("completion") == "":
        yield "completion is empty: there is nothing to learn from"
