"""What Anthropic's answers are read as."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from batchmill.money.usage import Usage
from batchmill.providers import answers
from batchmill.providers.anthropic.wire import AnthropicWire
from batchmill.requests.model import Endpoint

CHAT = Endpoint.CHAT
WIRE = AnthropicWire(api_keys=["k"], clock=lambda: 1_795_165_200.5)
ENDED = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-6",
    "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 2},
}


def read(**more: Any) -> Mapping[str, Any]:
    """Our answer of one of Anthropic's."""
    said = WIRE.read(CHAT, ENDED | more, b"{}")
    assert said is not None
    assert orjson.loads(said.body) == said.content
    return said.content


def usage(**counts: Any) -> Usage | None:
    """The usage that we bill by, of one of Anthropic's."""
    return answers.read_usage(CHAT, read(usage=counts))


def test_a_whole_answer_is_openais() -> None:
    """The official SDK reads it; every field that it demands is there."""
    answer = ChatCompletion.model_validate(read(), strict=True)
    assert (answer.id, answer.object, answer.created, answer.model) == (
        "msg_1",
        "chat.completion",
        1_795_165_200,
        "claude-sonnet-4-6",
    )
    choice = answer.choices[0]
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert (choice.message.content, choice.message.refusal, choice.message.tool_calls) == ("hi", None, None)


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("of_tomorrow", "length"),
    ],
)
def test_why_it_ended(reason: str, word: str) -> None:
    """In OpenAI's words, as the official SDK's types take no other; Anthropic's own stands beside it."""
    answer = read(stop_reason=reason)
    assert answers.read_finish_reason(CHAT, answer) == word
    assert answer["choices"][0]["native_finish_reason"] == reason
    ChatCompletion.model_validate(answer, strict=True)


@pytest.mark.parametrize(
    ("reason", "complete"), [("end_turn", True), ("tool_use", True), ("pause_turn", False), ("new", False)]
)
def test_only_a_complete_answer_is_kept_for_others(reason: str, complete: bool) -> None:
    """The cache goes by the words."""
    assert (answers.read_finish_reason(CHAT, read(stop_reason=reason)) in answers.COMPLETE) is complete


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "refusal"])
def test_an_answer_without_a_word_is_an_answer(reason: str) -> None:
    """It ended, and is paid for."""
    message = read(content=[], stop_reason=reason)["choices"][0]["message"]
    assert message["content"] == ""


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "a",
        {},
        {"content": "hi", "stop_reason": "end_turn"},
        {"content": [], "stop_reason": None},
        {"content": []},
        {"stop_reason": "end_turn"},
        {"content": [], "stop_reason": ""},
        {"choices": [{"message": {}, "finish_reason": "stop"}]},
    ],
)
def test_what_has_not_ended_is_no_answer(answer: Any) -> None:
    """Its attempt is unknown, not answered."""
    assert WIRE.read(CHAT, answer, b"{}") is None


def test_text_beside_calls_is_kept() -> None:
    """In order, each call with its id and its arguments as JSON text."""
    message = read(
        stop_reason="tool_use",
        content=[
            {"type": "text", "text": "let me see"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": {"b": [1, "é"]}}},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        ],
    )["choices"][0]["message"]
    assert message["content"] == "let me see"
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message["tool_calls"]] == [
        ("t1", "f", '{"a":{"b":[1,"é"]}}'),
        ("t2", "g", "{}"),
    ]


def test_nothing_of_an_answer_is_lost() -> None:
    """Thinking with its signature, redacted thinking, and blocks that nobody asked for."""
    thinking = {"type": "thinking", "thinking": "one", "signature": "s"}
    redacted = {"type": "redacted_thinking", "data": "x"}
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    more = {"type": "thinking", "thinking": "two", "signature": "t"}
    message = read(content=[thinking, redacted, search, more, {"type": "text", "text": "hi"}])["choices"][0][
        "message"
    ]
    assert message["reasoning_content"] == "one\n\ntwo"
    assert message["thinking_blocks"] == [thinking, redacted, more]
    assert message["other_blocks"] == [search]
    assert message["content"] == "hi"


@pytest.mark.parametrize(
    ("details", "refusal"),
    [
        ({"type": "refusal", "category": "bio", "explanation": "not this"}, "not this"),
        ({"type": "refusal", "category": "bio", "explanation": None}, "bio"),
        ({"type": "refusal"}, None),
        (None, None),
    ],
)
def test_why_it_was_refused(details: Any, refusal: str | None) -> None:
    """The explanation, else the category; none is made up."""
    answer = read(stop_reason="refusal", stop_details=details)
    assert answer["choices"][0]["message"]["refusal"] == refusal


@pytest.mark.parametrize(
    ("tier", "ours"), [("standard", "default"), ("priority", "priority"), ("batch", None), (None, None)]
)
def test_the_tier_that_served_it(tier: str | None, ours: str | None) -> None:
    """In OpenAI's words, where it has one."""
    answer = read(usage={"input_tokens": 1, "output_tokens": 1, "service_tier": tier})
    assert answer.get("service_tier") == ours


# usage


def test_input_is_all_input() -> None:
    """Anthropic counts what was read from and written to its cache apart; we count it in."""
    assert usage(
        input_tokens=100,
        cache_read_input_tokens=2_000,
        cache_creation_input_tokens=500,
        cache_creation={"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200},
        output_tokens=50,
        output_tokens_details={"thinking_tokens": 30},
        server_tool_use={"web_search_requests": 0},
        service_tier="standard",
    ) == Usage(
        input_tokens=2_600,
        cached_tokens=2_000,
        cache_write_5m_tokens=300,
        cache_write_1h_tokens=200,
        output_tokens=50,
        reasoning_tokens=30,
    )


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"input_tokens": 5, "output_tokens": 2}, Usage(input_tokens=5, output_tokens=2)),
        ({"input_tokens": 0, "output_tokens": 0}, Usage()),
        (
            {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": None, "cache_creation": None},
            Usage(input_tokens=5, output_tokens=2),
        ),
        (
            {"input_tokens": 5, "output_tokens": 2, "cache_creation_input_tokens": 7},
            Usage(input_tokens=12, output_tokens=2, cache_write_5m_tokens=7),
        ),
        (
            {"input_tokens": 5, "output_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 7}},
            Usage(input_tokens=12, output_tokens=2, cache_write_1h_tokens=7),
        ),
        (
            {"input_tokens": 5, "output_tokens": 2, "output_tokens_details": {"thinking_tokens": 9}},
            Usage(input_tokens=5, output_tokens=2, reasoning_tokens=2),
        ),
    ],
)
def test_usage_with_less_said(counts: Any, expected: Usage) -> None:
    """Nulls and missing parts are none; a subset is never more than its whole."""
    assert usage(**counts) == expected


@pytest.mark.parametrize(
    "counts",
    [
        None,
        {},
        "5",
        {"input_tokens": 5},
        {"output_tokens": 5},
        {"input_tokens": -1, "output_tokens": 2},
        {"input_tokens": True, "output_tokens": 2},
        {"input_tokens": 1.5, "output_tokens": 2},
        {"input_tokens": 10**13, "output_tokens": 2},
    ],
)
def test_unsaid_usage_is_unknown_not_zero(counts: Any) -> None:
    """A cost that cannot be known must not look like no cost; the answer itself is kept."""
    answer = read(usage=counts)
    assert "usage" not in answer
    assert answers.read_usage(CHAT, answer) is None
    assert WIRE.usage(CHAT, ENDED | {"usage": counts}) is None


def test_the_usage_of_what_is_no_answer_is_read() -> None:
    """A message cut off on its way may have been billed."""
    cut = {"content": [], "usage": {"input_tokens": 5, "output_tokens": 2}}
    assert WIRE.usage(CHAT, cut) == Usage(input_tokens=5, output_tokens=2)


COUNT = st.integers(0, 10**9)


@given(fresh=COUNT, read_=COUNT, short=COUNT, long=COUNT, output=COUNT, thought=COUNT)
def test_no_token_is_lost_or_counted_twice(
    fresh: int, read_: int, short: int, long: int, output: int, thought: int
) -> None:
    """Whatever the counts, the parts of ours are Anthropic's."""
    used = usage(
        input_tokens=fresh,
        cache_read_input_tokens=read_,
        cache_creation_input_tokens=short + long,
        cache_creation={"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        output_tokens=output,
        output_tokens_details={"thinking_tokens": thought},
    )
    assert used == Usage(
        input_tokens=fresh + read_ + short + long,
        cached_tokens=read_,
        cache_write_5m_tokens=short,
        cache_write_1h_tokens=long,
        output_tokens=output,
        reasoning_tokens=min(thought, output),
    )


WORDS = st.sampled_from(
    [
        *("content", "stop_reason", "usage", "type", "text", "thinking", "tool_use", "input", "id", "name"),
        *("end_turn", "refusal", "stop_details", "model", "input_tokens", "output_tokens", "cache_creation"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 3) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=15,
)


@given(JSON | st.fixed_dictionaries({"content": st.lists(JSON), "stop_reason": WORDS, "usage": JSON}))
def test_odd_answers_raise_nothing(answer: Any) -> None:
    """Whatever JSON comes, it is an answer in OpenAI's shape or none."""
    said = WIRE.read(CHAT, answer, b"{}")
    WIRE.usage(CHAT, answer)
    if said is not None:
        assert answers.is_answer(CHAT, said.content)


def test_an_input_nested_beyond_measure_is_no_answer() -> None:
    """The writer has a limit of its own, lower than the reader's; it does not raise."""
    nested = orjson.loads(b'{"a":' * 300 + b"1" + b"}" * 300)
    answer = ENDED | {"content": [{"type": "tool_use", "id": "t", "name": "f", "input": nested}]}
    assert WIRE.read(CHAT, answer, b"{}") is None
