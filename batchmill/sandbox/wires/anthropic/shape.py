"""Answers in the shape of Anthropic's messages."""

from collections.abc import Mapping
from typing import Any, Final

from batchmill.sandbox.compose import THOUGHT, Composed, End, Said
from batchmill.sandbox.outcomes import Complaint, ComplaintError
from batchmill.sandbox.prompts import Asked

_STOPPED: Final[Mapping[End, str]] = {
    End.STOP: "end_turn",
    End.LENGTH: "max_tokens",
    End.STOP_SEQUENCE: "stop_sequence",
    End.TOOL_CALL: "tool_use",
    End.REFUSAL: "refusal",
}


def shape(asked: Asked, composed: Composed, request_id: str) -> dict[str, Any]:
    """The message; what is withheld is an error here."""
    said = composed.said[0]
    if said.end is End.FILTERED:
        raise ComplaintError(Complaint(message="Output blocked by content filtering policy"))
    return {
        "id": f"msg_{request_id}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": _content(asked, said, request_id),
        "stop_reason": _STOPPED[said.end],
        "stop_sequence": said.stop or None,
        "stop_details": _refusal(said.text) if said.end is End.REFUSAL else None,
        "usage": _usage(composed),
    }


def _content(asked: Asked, said: Said, request_id: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if said.thought_tokens and asked.wishes.shows_thoughts:
        blocks.append({"type": "thinking", "thinking": THOUGHT, "signature": "c2FuZGJveA=="})
    if said.tool_call is not None:
        call = said.tool_call
        blocks.append(
            {"type": "tool_use", "id": f"toolu_{request_id}", "name": call.name, "input": call.arguments}
        )
    elif said.text and said.end is not End.REFUSAL:
        blocks.append({"type": "text", "text": said.text})
    return blocks


def _refusal(explanation: str) -> dict[str, Any]:
    return {"type": "refusal", "category": "general_harms", "explanation": explanation}


def _usage(composed: Composed) -> dict[str, Any]:
    """Input leaves out what was read from the cache."""
    return {
        "input_tokens": composed.tokens.input - composed.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": composed.cached_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": composed.tokens.output,
        "output_tokens_details": {"thinking_tokens": composed.thought_tokens},
        "server_tool_use": None,
        "service_tier": "standard",
    }
