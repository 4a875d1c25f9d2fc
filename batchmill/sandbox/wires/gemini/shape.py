"""Answers in Gemini's shapes; counts of zero are left out, as Google's servers do."""

from collections.abc import Mapping
from typing import Any, Final

from batchmill.requests.model import Endpoint
from batchmill.sandbox.compose import THOUGHT, Composed, End, Said, count_input_tokens
from batchmill.sandbox.logprobs import Token, likeliest, tokens
from batchmill.sandbox.prompts import Asked
from batchmill.sandbox.vectors import embed

DEFAULT_DIMENSIONS: Final = 3072

_FINISHED: Final[Mapping[End, str]] = {
    End.STOP: "STOP",
    End.LENGTH: "MAX_TOKENS",
    End.STOP_SEQUENCE: "STOP",
    End.TOOL_CALL: "STOP",
    End.FILTERED: "SAFETY",
}
_HARM: Final = "HARM_CATEGORY_DANGEROUS_CONTENT"


def shape(asked: Asked, composed: Composed, request_id: str) -> dict[str, Any]:
    """The answer's JSON."""
    if asked.endpoint is Endpoint.MODERATIONS:
        return {"totalTokens": count_input_tokens(asked.context)}
    if asked.endpoint is Endpoint.EMBEDDINGS:
        return _embeddings(asked) | {"usageMetadata": {"promptTokenCount": composed.tokens.input}}
    answer: dict[str, Any] = {
        "usageMetadata": _usage(composed),
        "modelVersion": asked.model,
        "responseId": request_id,
    }
    if any(said.end is End.REFUSAL for said in composed.said):
        return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **answer}
    candidates = [_candidate(asked, said, index, request_id) for index, said in enumerate(composed.said)]
    return {"candidates": candidates, **answer}


def _candidate(asked: Asked, said: Said, index: int, request_id: str) -> dict[str, Any]:
    candidate: dict[str, Any] = {"finishReason": _FINISHED[said.end], "index": index}
    if said.end is End.FILTERED:
        return candidate | {"safetyRatings": [{"category": _HARM, "probability": "HIGH", "blocked": True}]}
    parts: list[dict[str, Any]] = []
    if said.thought_tokens and asked.wishes.shows_thoughts:
        parts.append({"text": THOUGHT, "thought": True})
    if said.tool_call is not None:
        call = said.tool_call
        function = {"id": f"{request_id}_{index}", "name": call.name, "args": call.arguments}
        parts.append({"functionCall": function})
    elif said.text:
        parts.append({"text": said.text})
        candidate |= _logprobs(said, asked.wishes.tops)
    return {"content": ({"parts": parts} if parts else {}) | {"role": "model"}, **candidate}


def _logprobs(said: Said, tops: int | None) -> dict[str, Any]:
    if tops is None:
        return {}
    chosen = tokens(said.text)
    result: dict[str, Any] = {"chosenCandidates": [_token(token) for token in chosen]}
    if tops:
        each = ([_token(top) for top in likeliest(token, tops)] for token in chosen)
        result["topCandidates"] = [{"candidates": candidates} for candidates in each]
    return {"logprobsResult": result}


def _token(token: Token) -> dict[str, Any]:
    return {"token": token.text, "logProbability": token.logprob}


def _usage(composed: Composed) -> dict[str, Any]:
    """The prompt with what was cached of it, the candidates without the thoughts."""
    tokens, thoughts = composed.tokens, composed.thought_tokens
    counts = {
        "promptTokenCount": tokens.input,
        "cachedContentTokenCount": composed.cached_tokens,
        "candidatesTokenCount": tokens.output - thoughts,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": tokens.input + tokens.output,
    }
    details = [{"modality": "TEXT", "tokenCount": tokens.input}]
    return {name: count for name, count in counts.items() if count} | {"promptTokensDetails": details}


def _embeddings(asked: Asked) -> dict[str, Any]:
    requests = asked.body.get("requests")
    if requests is None:
        return {"embedding": _embedding(asked.prompts[0], asked.body)}
    pairs = zip(asked.prompts, requests, strict=True)
    return {"embeddings": [_embedding(text, request) for text, request in pairs]}


def _embedding(text: str, request: Mapping[str, Any]) -> dict[str, Any]:
    dimensions = request.get("outputDimensionality", request.get("output_dimensionality"))
    return {"values": embed(text, dimensions or DEFAULT_DIMENSIONS).tolist()}
