"""Gemini's answers in OpenAI's shape, with usage that prices exactly. Nothing here raises.

Facts: ai.google.dev/api/generate-content (Candidate, FinishReason, UsageMetadata) and the types of the official
SDK; wire-facts §3.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from batchmill.requests.model import Endpoint

CUT: Final = "length"
"""OpenAI's only word for an answer that is not whole, whatever the reason; one that is not known is such, too."""
FINISH_REASONS: Final[Mapping[str, str]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "ESCALATION": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MALFORMED_FUNCTION_CALL": CUT,
    "MALFORMED_RESPONSE": CUT,
    "UNEXPECTED_TOOL_CALL": CUT,
    "TOO_MANY_TOOL_CALLS": CUT,
    "MISSING_THOUGHT_SIGNATURE": CUT,
    "IMAGE_OTHER": CUT,
    "NO_IMAGE": CUT,
    "OTHER": CUT,
}
"""Gemini's reasons in OpenAI's words, as its clients take no others; Gemini's own stands beside it."""

_UNFINISHED: Final = frozenset({"", "FINISH_REASON_UNSPECIFIED"})


def chat(answer: Mapping[str, Any], created: int) -> dict[str, Any] | None:
    """A chat completion; None when the answer is none, or has a candidate that has not ended.

    Args:
        created: Seconds since the epoch; Gemini does not say.
    """
    candidates = [each for each in _list(answer.get("candidates")) if isinstance(each, dict)]
    answer_id = _text(answer.get("responseId"))
    choices = [_choice(each, index, answer_id) for index, each in enumerate(candidates)]
    if not choices and (blocked := _text(_object(answer.get("promptFeedback")).get("blockReason"))):
        choices = [_blocked(blocked)]
    if not choices or any(choice["native_finish_reason"] in _UNFINISHED for choice in choices):
        return None
    completion: dict[str, Any] = {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": _text(answer.get("modelVersion")),
        "choices": choices,
    }
    used = usage(Endpoint.CHAT, answer)
    return completion if used is None else completion | {"usage": used}


def embeddings(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """A list of embeddings; None when one of them is none. Gemini does not say which model made them."""
    vectors = [_object(each).get("values") for each in _list(answer.get("embeddings"))]
    if not vectors or not all(isinstance(vector, list) and vector for vector in vectors):
        return None
    data = [
        {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
    ]
    listed = {"object": "list", "data": data, "model": ""}
    used = usage(Endpoint.EMBEDDINGS, answer)
    return listed if used is None else listed | {"usage": used}


def usage(endpoint: Endpoint, answer: Any) -> dict[str, Any] | None:
    """What an answer used, in OpenAI's words; None where it does not say.

    Prompt tokens are the prompt, its cached part included, and what tools gave back. Completion tokens are
    candidates and thoughts. Where thoughts are not named (the old SDK drops them), they are what the total is
    more than everything else.
    """
    told = _object(_object(answer).get("usageMetadata"))
    if (prompt := _count(told.get("promptTokenCount"))) is None:
        return None
    if endpoint is Endpoint.EMBEDDINGS:
        return {"prompt_tokens": prompt, "total_tokens": prompt}
    prompt += _count(told.get("toolUsePromptTokenCount")) or 0
    candidates = _count(told.get("candidatesTokenCount")) or 0
    thoughts = _count(told.get("thoughtsTokenCount"))
    if thoughts is None:
        thoughts = max(0, (_count(told.get("totalTokenCount")) or 0) - prompt - candidates)
    heard = _audio(told.get("promptTokensDetails")) + _audio(told.get("toolUsePromptTokensDetails"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": candidates + thoughts,
        "total_tokens": prompt + candidates + thoughts,
        "prompt_tokens_details": {
            "cached_tokens": _count(told.get("cachedContentTokenCount")) or 0,
            "audio_tokens": heard,
        },
        "completion_tokens_details": {
            "reasoning_tokens": thoughts,
            "audio_tokens": _audio(told.get("candidatesTokensDetails")),
        },
    }


def _choice(candidate: Mapping[str, Any], index: int, answer_id: str) -> dict[str, Any]:
    native = _text(candidate.get("finishReason"))
    reason = FINISH_REASONS.get(native, CUT)
    said = _list(_object(candidate.get("content")).get("parts"))
    number = _count(candidate.get("index"))
    number = index if number is None else number
    message = _message([part for part in said if isinstance(part, dict)], f"{answer_id or 'call'}_{number}")
    if reason == "stop" and "tool_calls" in message:
        reason = "tool_calls"
    if message["content"] is None and reason != "content_filter" and "tool_calls" not in message:
        message["content"] = ""
    return {
        "index": number,
        "message": message,
        "logprobs": _logprobs(candidate.get("logprobsResult")),
        "finish_reason": reason,
        "native_finish_reason": native,
    }


def _blocked(native: str) -> dict[str, Any]:
    return {
        "index": 0,
        "message": {"role": "assistant", "content": None, "refusal": None},
        "logprobs": None,
        "finish_reason": "content_filter",
        "native_finish_reason": native,
    }


def _message(parts: Sequence[Mapping[str, Any]], call_prefix: str) -> dict[str, Any]:
    """A message: texts joined, thoughts apart, calls as tool calls, everything else in `extra_content`."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    others: list[Mapping[str, Any]] = []
    signature = None
    for part in parts:
        if isinstance(part.get("functionCall"), dict):
            calls.append(_tool_call(part, f"{call_prefix}_{len(calls)}"))
        elif not isinstance(part.get("text"), str):
            others.append(part)
        elif part.get("thought") is True:
            thoughts.append(part["text"])
        else:
            texts.append(part["text"])
            signature = part.get("thoughtSignature", signature)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": None,
    }
    google = ({"thought_signature": signature} if signature else {}) | ({"parts": others} if others else {})
    return (
        message
        | ({"reasoning_content": "".join(thoughts)} if thoughts else {})
        | ({"tool_calls": calls} if calls else {})
        | ({"extra_content": {"google": google}} if google else {})
    )


def _tool_call(part: Mapping[str, Any], own_id: str) -> dict[str, Any]:
    """A call; older models give it no id, so it gets one."""
    called = part["functionCall"]
    tool_call: dict[str, Any] = {
        "id": _text(called.get("id")) or own_id,
        "type": "function",
        "function": {
            "name": _text(called.get("name")),
            "arguments": orjson.dumps(_object(called.get("args"))).decode(),
        },
    }
    if signature := part.get("thoughtSignature"):
        tool_call["extra_content"] = {"google": {"thought_signature": signature}}
    return tool_call


def _logprobs(told: Any) -> dict[str, Any] | None:
    chosen = [_logprob(token) for token in _list(_object(told).get("chosenCandidates"))]
    if not chosen:
        return None
    tops = [
        [_logprob(token) for token in _list(_object(top).get("candidates"))]
        for top in _list(_object(told).get("topCandidates"))
    ]
    tops += [[] for _ in range(len(chosen) - len(tops))]
    content = [token | {"top_logprobs": top} for token, top in zip(chosen, tops, strict=False)]
    return {"content": content, "refusal": None}


def _logprob(told: Any) -> dict[str, Any]:
    token = _text(_object(told).get("token"))
    return {
        "token": token,
        "logprob": _object(told).get("logProbability", 0),
        "bytes": list(token.encode("utf-8", "replace")),
    }


def _audio(details: Any) -> int:
    return sum(
        _count(detail.get("tokenCount")) or 0
        for detail in _objects(details)
        if detail.get("modality") == "AUDIO"
    )


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    return (each for each in _list(value) if isinstance(each, dict))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
