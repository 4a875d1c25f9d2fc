"""Answers in pieces: cut anywhere, put together, taken apart."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.requests.model import Endpoint
from batchmill.streams.events import LAST, EventReader, event_of
from batchmill.streams.pieces import pieces_of
from batchmill.streams.whole import assembly_for

USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"a": 1}'}}
STREAM = b': hello\n\nevent: a\ndata: {"a": 1}\n\ndata: {"b":\r\ndata: 2}\r\n\r\ndata: [DONE]\n\n'

chats = st.builds(
    lambda choices: {
        "id": "chatcmpl-1",
        "created": 7,
        "model": "gpt-4o-mini",
        "object": "chat.completion",
        "choices": [{"index": index, **choice} for index, choice in enumerate(choices)],
        "usage": USAGE,
    },
    st.lists(
        st.builds(
            lambda text, calls, reason: {
                "message": {"role": "assistant", "content": text or None, "refusal": None}
                | ({"tool_calls": [CALL] * calls} if calls else {}),
                "logprobs": None,
                "finish_reason": reason,
            },
            st.text(max_size=60),
            st.integers(0, 2),
            st.sampled_from(["stop", "length", "tool_calls"]),
        ),
        min_size=1,
        max_size=3,
    ),
)


def said(events: bytes) -> list[Any]:
    """What events say, the last one aside."""
    return [orjson.loads(event.data) for event in EventReader().feed(events) if event.data != b"[DONE]"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_however_they_arrive(cuts: list[int]) -> None:
    """Wherever the bytes are cut on their way, the same events come out, byte for byte."""
    reader, places = EventReader(), [0, *sorted(cuts), len(STREAM)]
    events = [event for start, end in pairwise(places) for event in reader.feed(STREAM[start:end])]
    assert b"".join(event.raw for event in events) == STREAM
    assert [event.data for event in events] == [b"", b'{"a": 1}', b'{"b":\n2}', b"[DONE]"]


@given(chats, st.booleans())
def test_what_is_taken_apart_is_put_together_again(answer: dict[str, Any], by_words: bool) -> None:
    """A chat made of its own pieces is the chat it was."""
    events = b"".join(pieces_of(Endpoint.CHAT, answer, with_usage=True, by_words=by_words))
    assert events.endswith(LAST)
    assembly = assembly_for(Endpoint.CHAT)
    for piece in said(events):
        assembly.add(piece)
    assert assembly.is_finished
    assert assembly.whole() == answer


def test_usage_is_told_only_to_who_asks() -> None:
    """Without `include_usage` no piece tells it."""
    answer = {"id": "x", "choices": [{"index": 0, "text": "a", "finish_reason": "stop"}], "usage": USAGE}
    told = said(b"".join(pieces_of(Endpoint.COMPLETIONS, answer)))
    assert not any("usage" in piece for piece in told)
    told = said(b"".join(pieces_of(Endpoint.COMPLETIONS, answer, with_usage=True)))
    assert [piece["usage"] for piece in told] == [None, None, USAGE]


def test_calls_of_tools_grow_by_their_index() -> None:
    """Arguments that come bit by bit, of two calls in turn, are each their own call's."""
    assembly = assembly_for(Endpoint.CHAT)
    bits = [
        [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}],
        [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": '{"y"'}}],
        [{"index": 0, "function": {"arguments": "{}"}}, {"index": 1, "function": {"arguments": ":2}"}}],
    ]
    for bit in bits:
        assembly.add({"choices": [{"index": 0, "delta": {"tool_calls": bit}, "finish_reason": None}]})
    assert not assembly.is_finished
    assembly.add({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    whole = assembly.whole()
    assert whole is not None
    calls = whole["choices"][0]["message"]["tool_calls"]
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [("a", "{}"), ("b", '{"y":2}')]
    assert "index" not in calls[0]


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_a_response_is_its_last_event(status: str) -> None:
    """Events of the Responses API are numbered, and the last of them holds it all."""
    output = [{"id": "m", "type": "message", "status": status, "role": "assistant", "content": []}]
    response = {"id": "resp_1", "status": status, "output": output, "usage": {"input_tokens": 1}}
    pieces = said(b"".join(pieces_of(Endpoint.RESPONSES, response)))
    assert [piece["sequence_number"] for piece in pieces] == list(range(len(pieces)))
    assembly = assembly_for(Endpoint.RESPONSES)
    for piece in pieces:
        assembly.add(piece)
    assert assembly.whole() == response


def test_an_event_is_named_where_it_has_a_name() -> None:
    """The Responses API names its events; chats do not."""
    assert event_of({"a": 1}, "b") == b'event: b\ndata: {"a":1}\n\n'
    assert event_of({"a": 1}) == b'data: {"a":1}\n\n'
