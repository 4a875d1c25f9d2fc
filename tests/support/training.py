"""Marked answers, as the database would give them."""

from typing import Any

import orjson

from batchmill.requests.model import Endpoint
from batchmill.training.model import Answered

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Finds an order.",
        "parameters": {
            "type": "object",
            "properties": {"order": {"type": "string"}},
            "required": ["order"],
            "additionalProperties": False,
        },
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"order":"7"}'}}


def answered(
    *messages: tuple[str, str] | dict[str, Any],
    says: str | dict[str, Any] = "Four.",
    nth: int = 1,
    finish_reason: str = "stop",
    rating: int | None = None,
    verified: bool = True,
    **question: Any,
) -> Answered:
    """A chat of these messages and its answer."""
    asked = messages or (("user", "2 + 2?"),)
    said = [one if isinstance(one, dict) else {"role": one[0], "content": one[1]} for one in asked]
    message = (
        {"role": "assistant", "content": says} if isinstance(says, str) else {"role": "assistant", **says}
    )
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return Answered(
        answer_id=nth,
        endpoint=Endpoint.CHAT,
        question=orjson.dumps({"model": "gpt-4o-mini", "messages": said, **question}).decode(),
        answer=orjson.dumps({"choices": [choice]}).decode(),
        finish_reason=finish_reason,
        rating=rating,
        verified=verified,
    )


def several_turns() -> Answered:
    """A chat in which a tool was called, and that ends with a text."""
    return answered(
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "name": "anna", "content": "Where is order 7?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "on its way"},
        says="On its way.",
        tools=[TOOL],
        parallel_tool_calls=False,
        metadata={"conversation_id": "c-7"},
    )
