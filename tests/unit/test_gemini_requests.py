"""Requests to Gemini: which model is told what, and malformed requests, which are named and never an accident."""

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.providers.base import Call
from batchmill.providers.gemini import ask
from batchmill.providers.gemini.wire import GeminiWire
from batchmill.providers.wire import UntranslatableError
from batchmill.requests.model import Endpoint

HELLO = {"role": "user", "content": "hello"}
WIRE = GeminiWire(api_keys=["key"])


def call(body: Any, model: str = "gemini-2.5-flash", endpoint: Endpoint = Endpoint.CHAT) -> Call:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return Call(endpoint=endpoint, model=model, body=raw, client_request_id="r/1", timeout_s=1.0)


def refused_param(body: Any, model: str = "gemini-2.5-flash") -> str:
    with pytest.raises(UntranslatableError) as caught:
        WIRE.write(call(body, model))
    return caught.value.param


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-flash-lite", "minimal", {"thinkingBudget": 1_024}),
        ("gemini-2.5-pro", "low", {"thinkingBudget": 1_024}),
        ("gemini-2.5-pro", "medium", {"thinkingBudget": 8_192}),
        ("models/gemini-2.5-flash", "high", {"thinkingBudget": 24_576}),
        ("gemini-3-pro-preview", "minimal", {"thinkingLevel": "LOW"}),
        ("gemini-3-flash-preview", "minimal", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.1-flash-lite", "low", {"thinkingLevel": "LOW"}),
        ("gemini-3.8-flash", "medium", {"thinkingLevel": "MEDIUM"}),
        ("gemini-3.8-flash", "xhigh", {"thinkingLevel": "XHIGH"}),
        ("gemini-flash-latest", "high", {"thinkingLevel": "HIGH"}),
        ("gemini-10-flash", "high", {"thinkingLevel": "HIGH"}),
    ],
)
def test_how_hard_to_think(model: str, effort: str, config: dict[str, Any]) -> None:
    """A budget of tokens for Gemini 2.5, a level from 3 on, as at Google's own OpenAI endpoint."""
    body = {"messages": [HELLO], "reasoning_effort": effort}
    request = ask.translate(Endpoint.CHAT, model, orjson.dumps(body))
    assert request["generationConfig"] == {"thinkingConfig": config}


@pytest.mark.parametrize(
    ("model", "effort"),
    [
        ("gemini-2.5-pro", "none"),
        ("gemini-2.5-flash", "xhigh"),
        ("gemini-3-flash-preview", "none"),
        ("gemini-3.8-flash", "max"),
        ("gemini-2.0-flash", "low"),
        ("gemma-3-27b-it", "low"),
    ],
)
def test_what_a_model_cannot_think(model: str, effort: str) -> None:
    """Thinking that cannot be turned off, or on, is an error rather than something like it."""
    assert refused_param({"messages": [HELLO], "reasoning_effort": effort}, model) == "reasoning_effort"


@pytest.mark.parametrize("model", ["gemini-2.0-flash", "gemini-1.5-pro-002"])
def test_old_models_fetch_no_urls(model: str) -> None:
    """Gemini fetches none for them."""
    parts = [{"type": "image_url", "image_url": {"url": "https://h/a.png"}}]
    named = refused_param({"messages": [{"role": "user", "content": parts}]}, model)
    assert named == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("models/gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("tunedModels/mine-7", "/v1beta/tunedModels/mine-7:generateContent"),
        ("a/../b?c d", "/v1beta/models/a%2F..%2Fb%3Fc%20d:generateContent"),
    ],
)
def test_a_models_address(model: str, path: str) -> None:
    """One segment, whatever the name is."""
    assert WIRE.write(call({"messages": [HELLO]}, model)).split(b" ")[1].decode() == path


def image(url: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url} | more}]}


def tool_call(**function: Any) -> dict[str, Any]:
    called = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"} | function}
    return {"role": "assistant", "tool_calls": [called]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", "body"),
        ([], "body"),
        ({}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "a"}]}, "messages"),
        ({"messages": [7]}, "messages[0]"),
        ({"messages": [{"content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "judge"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "a", "mood": None}]}, "messages[0].mood"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "system", "content": [image("x")["content"][0]]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [image("http://h/a.png")]}, "messages[0].content[0].image_url.url"),
        ({"messages": [image("data:image/png,AAAA")]}, "messages[0].content[0].image_url.url"),
        ({"messages": [image("data:image/png;base64,A*AA")]}, "messages[0].content[0].image_url.url"),
        ({"messages": [image("https://h/a", detail="original")]}, "messages[0].content[0].image_url.detail"),
        ({"messages": [image("https://h/a", detail="low"), image("https://h/a", detail="high")]}, "messages"),
        ({"messages": [tool_call(arguments="{")]}, "messages[0].tool_calls[0].function.arguments"),
        ({"messages": [tool_call(arguments="[]")]}, "messages[0].tool_calls[0].function.arguments"),
        ({"messages": [tool_call(arguments='{"a": NaN}')]}, "messages[0].tool_calls[0].function.arguments"),
        ({"messages": [tool_call(arguments=f'{{"a": {2**70}}}')]}, "messages"),
        ({"messages": [tool_call(arguments='{"a": "\\ud800"}')]}, "messages"),
        ({"messages": [tool_call(arguments="[" * 100_000)]}, "messages[0].tool_calls[0].function.arguments"),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "a"}]}, "messages[0].tool_call_id"),
        ({"messages": [HELLO], "max_tokens": True}, "max_tokens"),
        ({"messages": [HELLO], "max_tokens": 1.5}, "max_tokens"),
        ({"messages": [HELLO], "max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"messages": [HELLO], "seed": 2**31}, "seed"),
        ({"messages": [HELLO], "temperature": "hot"}, "temperature"),
        ({"messages": [HELLO], "stop": [7]}, "stop[0]"),
        ({"messages": [HELLO], "logprobs": 1}, "logprobs"),
        ({"messages": [HELLO], "top_logprobs": 2}, "top_logprobs"),
        ({"messages": [HELLO], "tool_choice": "required"}, "tool_choice"),
        ({"messages": [HELLO], "tools": [{"type": "function"}]}, "tools[0].function"),
        ({"messages": [HELLO], "response_format": "json"}, "response_format"),
        ({"messages": [HELLO], "response_format": {"type": "xml"}}, "response_format.type"),
        ({"messages": [HELLO], "reasoning_effort": 5}, "reasoning_effort"),
        ({"messages": [HELLO], "top_k": 5}, "top_k"),
        ({"messages": [HELLO], "stream": 0}, "stream"),
    ],
)
def test_what_is_malformed_or_unknown_is_named(body: Any, param: str) -> None:
    """An error of one kind, with the field's full name."""
    assert refused_param(body) == param


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def grown(name: str) -> st.SearchStrategy[Any]:
    """Something like what belongs there, or anything."""
    shaped = {
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["user", "assistant", "tool", "system"])},
                optional={
                    "content": st.text(max_size=9)
                    | st.lists(st.dictionaries(st.sampled_from(WORDS), JSON))
                    | JSON,
                    "tool_calls": st.lists(st.dictionaries(st.sampled_from(WORDS), JSON)) | JSON,
                    "tool_call_id": JSON,
                    "extra_content": JSON,
                },
            ),
            max_size=3,
        ),
        "tools": st.lists(st.dictionaries(st.sampled_from(WORDS), JSON), max_size=2),
        "response_format": st.dictionaries(st.sampled_from(WORDS), JSON),
    }
    return shaped.get(name, st.nothing()) | JSON


WORDS = [
    "type",
    "text",
    "image_url",
    "function",
    "file",
    "id",
    "name",
    "input_audio",
    "json_schema",
    "arguments",
]


@settings(max_examples=150)
@given(
    st.fixed_dictionaries(
        {"messages": grown("messages")},
        optional={name: grown(name) for name in ask.CHAT if name != "messages"},
    )
    | st.dictionaries(st.text(max_size=9), JSON, max_size=4)
)
def test_any_object_is_a_request_or_an_error(body: dict[str, Any]) -> None:
    """Bytes or UntranslatableError, never an exception of another kind."""
    try:
        raw = orjson.dumps(body)
    except TypeError:
        return
    for endpoint in (Endpoint.CHAT, Endpoint.EMBEDDINGS):
        with contextlib.suppress(UntranslatableError):
            assert WIRE.write(call(raw, endpoint=endpoint)).startswith(
                b"POST /v1beta/models/gemini-2.5-flash:"
            )
