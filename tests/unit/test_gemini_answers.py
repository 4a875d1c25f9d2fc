"""Gemini's answers in OpenAI's shape: choices, probabilities, and answers that are none."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from batchmill.money.usage import Usage
from batchmill.providers import answers
from batchmill.providers.gemini import answer
from batchmill.providers.gemini.wire import GeminiWire
from batchmill.requests.model import Endpoint

WIRE = GeminiWire(api_keys=["key"], clock=lambda: 1_700_000_000.5)


def read(told: Any, endpoint: Endpoint = Endpoint.CHAT) -> dict[str, Any] | None:
    said = WIRE.read(endpoint, told, orjson.dumps(told))
    if said is None:
        return None
    assert orjson.loads(said.body) == said.content
    return dict(said.content)


def test_a_whole_completion() -> None:
    """Every member that OpenAI's completions have, dated by our clock."""
    told = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": 10,
            "candidatesTokenCount": 2,
            "thoughtsTokenCount": 3,
            "totalTokenCount": 15,
        },
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r",
    }
    assert read(told) == {
        "id": "r",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gemini-2.5-flash",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
                "native_finish_reason": "STOP",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
        },
    }


def test_several_candidates_are_several_choices() -> None:
    """In their own numbers."""
    told = {
        "candidates": [
            {"content": {"parts": [{"text": text}]}, "finishReason": "STOP", "index": index}
            for index, text in ((1, "b"), (0, "a"))
        ]
    }
    completion = read(told)
    assert completion is not None
    assert [(c["index"], c["message"]["content"]) for c in completion["choices"]] == [(1, "b"), (0, "a")]


def test_log_probabilities() -> None:
    """Each token with its bytes and what else it might have been."""
    told = {
        "candidates": [
            {
                "content": {"parts": [{"text": "né"}]},
                "finishReason": "STOP",
                "logprobsResult": {
                    "chosenCandidates": [
                        {"token": "n", "tokenId": 5, "logProbability": -0.5},
                        {"token": "é", "logProbability": -1},
                    ],
                    "topCandidates": [{"candidates": [{"token": "m", "logProbability": -2.5}]}],
                },
            }
        ]
    }
    completion = read(told)
    assert completion is not None
    assert completion["choices"][0]["logprobs"] == {
        "content": [
            {
                "token": "n",
                "logprob": -0.5,
                "bytes": [110],
                "top_logprobs": [{"token": "m", "logprob": -2.5, "bytes": [109]}],
            },
            {"token": "é", "logprob": -1, "bytes": [195, 169], "top_logprobs": []},
        ],
        "refusal": None,
    }


def test_calls_of_several_candidates_have_ids_of_their_own() -> None:
    """No two calls of an answer are mistaken for each other."""
    candidate = {"content": {"parts": [{"functionCall": {"name": "f"}}] * 2}, "finishReason": "STOP"}
    completion = read({"candidates": [candidate, candidate], "responseId": "r"})
    assert completion is not None
    ids = [each["id"] for choice in completion["choices"] for each in choice["message"]["tool_calls"]]
    assert len(set(ids)) == 4


@pytest.mark.parametrize("native", [*answer.FINISH_REASONS, "OF_TOMORROW"])
def test_why_it_ended_is_told_in_openais_words(native: str) -> None:
    """The official SDK's types take no other; Gemini's own word stands beside it."""
    completion = read({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": native}]})
    assert completion is not None
    assert completion["choices"][0]["native_finish_reason"] == native
    ChatCompletion.model_validate_json(orjson.dumps(completion), strict=True)


@pytest.mark.parametrize("native", answer.FINISH_REASONS)
def test_only_a_stop_is_whole(native: str) -> None:
    """Every other reason keeps the answer out of the cache."""
    completion = read({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": native}]})
    assert completion is not None
    reason = answers.read_finish_reason(Endpoint.CHAT, completion)
    assert (reason in answers.COMPLETE) is (native == "STOP")


def test_every_reason_of_the_sdk_is_decided() -> None:
    """None is left to chance."""
    types = pytest.importorskip("google.genai.types")
    reasons = {reason.value for reason in types.FinishReason} - {"FINISH_REASON_UNSPECIFIED"}
    assert reasons <= set(answer.FINISH_REASONS)


@pytest.mark.parametrize(
    "told",
    [
        {},
        [],
        7,
        None,
        {"candidates": []},
        {"candidates": [7]},
        {"candidates": [{"content": {"parts": [{"text": "a"}]}}]},
        {"candidates": [{"finishReason": "FINISH_REASON_UNSPECIFIED"}]},
        {"candidates": [{"finishReason": "STOP"}, {}]},
        {"promptFeedback": {"safetyRatings": []}},
    ],
)
def test_what_has_not_ended_is_no_answer(told: Any) -> None:
    """An answer ends, every part of it, or its prompt was blocked."""
    assert read(told) is None


def test_an_answer_without_content_is_one() -> None:
    """The vendor says that it ended: thinking may have taken all the room."""
    completion = read({"candidates": [{"finishReason": "MAX_TOKENS"}]})
    assert completion is not None
    assert completion["choices"][0]["message"]["content"] == ""


def test_a_blocked_prompt_is_an_answer() -> None:
    """Billed for its prompt, filtered, without content."""
    told = {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
    }
    completion = read(told)
    assert completion is not None
    assert answers.read_usage(Endpoint.CHAT, completion) == Usage(input_tokens=4)
    assert answers.read_finish_reason(Endpoint.CHAT, completion) == "content_filter"


@pytest.mark.parametrize(
    "told", [{}, {"embeddings": []}, {"embeddings": [{}]}, {"embeddings": [{"values": []}]}]
)
def test_embeddings_that_are_none(told: Any) -> None:
    """Each text has its vector, or there is no answer."""
    assert read(told, Endpoint.EMBEDDINGS) is None


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"promptTokenCount": None},
        {"promptTokenCount": "many"},
        {"promptTokenCount": -1},
        {"promptTokenCount": True},
        [],
    ],
)
def test_usage_that_does_not_say(told: Any) -> None:
    """Unknown, not zero."""
    assert WIRE.usage(Endpoint.CHAT, {"usageMetadata": told}) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        [
            "candidates", "content", "parts", "finishReason", "text", "functionCall", "name", "args", "index",
            "usageMetadata", "promptTokenCount", "promptTokensDetails", "modality", "tokenCount", "embeddings",
            "values", "logprobsResult", "chosenCandidates", "topCandidates", "token", "thoughtSignature", "thought",
        ]
    ), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_nothing_that_comes_raises(told: Any) -> None:
    """Whatever Gemini, or who stands in for it, sends."""
    for endpoint in (Endpoint.CHAT, Endpoint.EMBEDDINGS):
        read(told, endpoint)
        WIRE.usage(endpoint, told)
        error = WIRE.explain(400, told)
        assert WIRE.error_body(error, b"{}")
