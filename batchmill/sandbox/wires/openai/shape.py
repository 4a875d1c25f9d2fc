"""Answers in OpenAI's shapes."""

import time
from collections.abc import Mapping
from typing import Any, Final

import orjson

from batchmill.requests.model import Endpoint
from batchmill.sandbox.bill import Tokens
from batchmill.sandbox.compose import Composed, End, Said, ToolCall
from batchmill.sandbox.logprobs import Token, likeliest, tokens
from batchmill.sandbox.outcomes import NOT_A_MODEL, Complaint, ComplaintError
from batchmill.sandbox.prompts import Asked
from batchmill.sandbox.vectors import MOST_DIMENSIONS, embed, in_base64

DEFAULT_DIMENSIONS: Final = 1536

_FINISHED: Final[Mapping[End, str]] = {
    End.STOP: "stop",
    End.LENGTH: "length",
    End.STOP_SEQUENCE: "stop",
    End.TOOL_CALL: "tool_calls",
    End.REFUSAL: "stop",
    End.FILTERED: "content_filter",
}
_INCOMPLETE: Final[Mapping[End, str]] = {End.LENGTH: "max_output_tokens", End.FILTERED: "content_filter"}
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


def shape(asked: Asked, composed: Composed, request_id: str, cost_nanos: int) -> dict[str, Any]:
    """The answer's JSON; with OpenRouter's `usage.cost` where the body asks for it as one asks OpenRouter."""
    match asked.endpoint:
        case Endpoint.EMBEDDINGS:
            answer = _embeddings(asked, composed.tokens)
        case Endpoint.MODERATIONS:
            return _moderations(asked, request_id)
        case Endpoint.RESPONSES:
            answer = _response(asked, composed, request_id)
        case _:
            answer = _choices(asked, composed, request_id)
    if "usage" in asked.body and _includes_cost(asked.body["usage"]):
        answer["usage"]["cost"] = cost_nanos / 1_000_000_000  # a JSON number, as OpenRouter's is
    return answer


def _includes_cost(usage: Any) -> bool:
    return isinstance(usage, dict) and usage.get("include") is True


def _choices(asked: Asked, composed: Composed, request_id: str) -> dict[str, Any]:
    chat = asked.endpoint is Endpoint.CHAT
    tokens = composed.tokens
    write = _message if chat else _completion
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{request_id}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": asked.model,
        "choices": [
            {
                "index": index,
                **write(said, f"{request_id}_{index}"),
                "logprobs": _logprobs(said, asked.wishes.tops),
                "finish_reason": _FINISHED[said.end],
            }
            for index, said in enumerate(composed.said)
        ],
        "usage": {
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
            "prompt_tokens_details": {"cached_tokens": composed.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": composed.thought_tokens, "audio_tokens": 0},
        },
        "system_fingerprint": "batchmill-sandbox-not-a-model",
        "sandbox": NOT_A_MODEL,
    }


def _logprobs(said: Said, tops: int | None) -> dict[str, Any] | None:
    if tops is None or said.tool_call is not None or said.end is End.REFUSAL:
        return None
    content = [
        _token(token) | {"top_logprobs": [_token(top) for top in likeliest(token, tops)]}
        for token in tokens(said.text)
    ]
    return {"content": content, "refusal": None}


def _token(token: Token) -> dict[str, Any]:
    as_bytes = list(token.text.encode("utf-8", "replace"))
    return {"token": token.text, "logprob": token.logprob, "bytes": as_bytes}


def _completion(said: Said, _id: str) -> dict[str, Any]:
    return {"text": said.text}


def _message(said: Said, id: str) -> dict[str, Any]:
    if said.end is End.REFUSAL:
        return {"message": {"role": "assistant", "content": None, "refusal": said.text}}
    if said.tool_call is not None:
        function = {"name": said.tool_call.name, "arguments": _arguments(said.tool_call)}
        call = {"id": f"call_{id}", "type": "function", "function": function}
        return {"message": {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}}
    return {"message": {"role": "assistant", "content": said.text, "refusal": None}}


def _arguments(call: ToolCall) -> str:
    return orjson.dumps(call.arguments).decode()


def _response(asked: Asked, composed: Composed, request_id: str) -> dict[str, Any]:
    said, tokens = composed.said[0], composed.tokens
    reason = _INCOMPLETE.get(said.end)
    status = "completed" if reason is None else "incomplete"
    output = [_output(said, status, request_id)]
    if said.thought_tokens:
        output.insert(0, {"id": f"rs_{request_id}", "type": "reasoning", "summary": []})
    return {
        "id": f"resp_{request_id}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "error": None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "instructions": asked.body.get("instructions"),
        "max_output_tokens": asked.max_tokens,
        "model": asked.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": asked.body.get("tool_choice") or "auto",
        "tools": asked.body.get("tools") or [],
        "metadata": asked.body.get("metadata") or {},
        "usage": {
            "input_tokens": tokens.input,
            "input_tokens_details": {"cached_tokens": composed.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": composed.thought_tokens},
            "total_tokens": tokens.input + tokens.output,
        },
        "sandbox": NOT_A_MODEL,
    }


def _output(said: Said, status: str, request_id: str) -> dict[str, Any]:
    if said.tool_call is not None:
        return {
            "id": f"fc_{request_id}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{request_id}",
            "name": said.tool_call.name,
            "arguments": _arguments(said.tool_call),
        }
    content: dict[str, Any] = {"type": "output_text", "text": said.text, "annotations": []}
    if said.end is End.REFUSAL:
        content = {"type": "refusal", "refusal": said.text}
    return {
        "id": f"msg_{request_id}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [content],
    }


def _embeddings(asked: Asked, tokens: Tokens) -> dict[str, Any]:
    dimensions = asked.body.get("dimensions") or DEFAULT_DIMENSIONS
    if not isinstance(dimensions, int) or not 1 <= dimensions <= MOST_DIMENSIONS:
        message = f"Invalid value for 'dimensions': expected a whole number from 1 to {MOST_DIMENSIONS}."
        raise ComplaintError(Complaint(message=message, code="invalid_value", param="dimensions"))
    encoded = asked.body.get("encoding_format") == "base64"
    vectors = (embed(text, dimensions) for text in asked.prompts)
    data = [
        {"object": "embedding", "index": index, "embedding": in_base64(v) if encoded else v.tolist()}
        for index, v in enumerate(vectors)
    ]
    return {
        "object": "list",
        "data": data,
        "model": asked.model,
        "usage": {"prompt_tokens": tokens.input, "total_tokens": tokens.input},
        "sandbox": NOT_A_MODEL,
    }


def _moderations(asked: Asked, request_id: str) -> dict[str, Any]:
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.0),
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
    return {
        "id": f"modr-{request_id}",
        "model": asked.model,
        "results": [result for _ in asked.prompts],
        "sandbox": NOT_A_MODEL,
    }
