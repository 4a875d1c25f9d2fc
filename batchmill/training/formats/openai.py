"""OpenAI's format for supervised fine-tuning of chat models.

Facts: OpenAI, "Supervised fine-tuning" and "Fine-tuning best practices" (at least 10 examples; 65,536 tokens an
example for gpt-4o-mini, gpt-4o and gpt-4.1, what is longer is cut at its end); the API reference's
FineTuneChatRequestInput (messages, tools, parallel_tool_calls, functions; an assistant's message may have the weight
0 or 1; text and images, no sound, no files); Files: 512 MB.
"""

from collections.abc import Iterator
from typing import Any, Final

from batchmill.training.formats.chat import message_faults, tool_faults
from batchmill.training.model import Conversation, Reason, UnfitError
from batchmill.training.rules import MB, FileRules, size_faults, texts_in, unknown_members

RULES: Final = FileRules(
    least_lines=10,
    most_bytes=512 * MB,
    most_tokens=65_536,
    source="OpenAI: Supervised fine-tuning, Files, FineTuneChatRequestInput",
)
_EXAMPLE: Final = frozenset({"messages", "tools", "parallel_tool_calls", "functions"})


def write(conversation: Conversation) -> dict[str, Any]:
    """The example: what the assistant said before has the weight 0, as only the last answer is known to be good.

    Raises:
        UnfitError: It is a completion.
    """
    if conversation.prompt is not None:
        raise UnfitError(Reason.NOT_A_CONVERSATION)
    *before, answer = conversation.messages
    earlier = [{**said, "weight": 0} if said["role"] == "assistant" else said for said in before]
    example: dict[str, Any] = {"messages": [_said(message) for message in (*earlier, answer)]}
    if conversation.tools:
        example["tools"] = conversation.tools
    if conversation.parallel_tool_calls is not None:
        example["parallel_tool_calls"] = conversation.parallel_tool_calls
    return example


def _said(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != "content" or value is not None}


def faults(example: Any) -> Iterator[str]:
    """What is wrong with a line."""
    if not isinstance(example, dict):
        yield "it is no object"
        return
    yield from unknown_members(example, _EXAMPLE, "the example")
    messages = example.get("messages")
    yield from message_faults(messages, arguments_as_text=True)
    yield from _weight_faults(messages)
    yield from tool_faults(example)
    if not isinstance(example.get("parallel_tool_calls", True), bool):
        yield "parallel_tool_calls is neither true nor false"
    yield from size_faults(example, texts_in(example), RULES)


def _weight_faults(messages: Any) -> Iterator[str]:
    said = [each for each in messages if isinstance(each, dict)] if isinstance(messages, list) else []
    for nth, message in enumerate(said):
        if "weight" in message and (message.get("role") != "assistant" or message["weight"] not in (0, 1)):
            yield f"messages[{nth}].weight: an assistant's message may have 0 or 1, others none"
    assistant = [message for message in said if message.get("role") == "assistant"]
    if assistant and all(message.get("weight") == 0 for message in assistant):
        yield "every message of the assistant has the weight 0: there is nothing to learn from"
