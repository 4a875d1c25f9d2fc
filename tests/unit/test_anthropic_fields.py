"""Every row of what Anthropic makes of OpenAI's fields, proved by an example."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
import pytest

from batchmill.providers.anthropic.answer import read_answer
from batchmill.providers.anthropic.ask import RULES, write_body
from batchmill.providers.anthropic.wire import CHAT_FIELDS, EMBEDDING_FIELDS
from batchmill.providers.base import Call
from batchmill.providers.fields import Support
from batchmill.providers.openai_fields import CHAT, EMBEDDINGS
from batchmill.providers.wire import UntranslatableError
from batchmill.requests.model import Endpoint

MODEL = "claude-sonnet-4-6"
HELLO = {"role": "user", "content": "hello"}
SAID_HELLO = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
PLAIN = {"model": MODEL, "messages": [HELLO]}
SAID_PLAIN = {"model": MODEL, "max_tokens": 4096, "messages": [SAID_HELLO]}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"properties": {}}}}
SAID_WEATHER = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"at": "Oslo"}'}}
    ],
}
SAID_CALLED = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"at": "Oslo"}}],
}


class Says(NamedTuple):
    """A request, and what it has that the plain one has not, at Anthropic."""

    asked: Mapping[str, Any]
    said: Mapping[str, Any]


class Raises(NamedTuple):
    """A request that Anthropic cannot be asked."""

    asked: Mapping[str, Any]


class Changes(NamedTuple):
    """A request that is the plain one at Anthropic."""

    nothing_by: Mapping[str, Any]


class Answers(NamedTuple):
    """What Anthropic's answer has, and what ours has then, by its path."""

    told: Mapping[str, Any]
    ours: Mapping[str, Any]


Example = Says | Raises | Changes | Answers


def says_parts(part: Mapping[str, Any], *blocks: Mapping[str, Any]) -> Says:
    """A part of a user's message, and its blocks."""
    return Says(
        {"messages": [{"role": "user", "content": [part]}]},
        {"messages": [{"role": "user", "content": list(blocks)}]},
    )


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def amid(message: Mapping[str, Any]) -> dict[str, Any]:
    """A conversation with a message in its midst."""
    return {"messages": [HELLO, message, HELLO]}


def said_amid(turn: Mapping[str, Any]) -> dict[str, Any]:
    return {"messages": [SAID_HELLO, turn, SAID_HELLO]}


IMAGE = {"type": "image_url", "image_url": {"url": "https://h/cat.png"}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}

EXAMPLES: Mapping[str, Example] = {
    "model": Says({"model": "claude-x"}, {"model": "claude-x"}),
    "messages": Says({"messages": [HELLO]}, {"messages": [SAID_HELLO]}),
    "messages[].role=system": Says(
        {"messages": [{"role": "system", "content": "be brief"}, HELLO]}, {"system": [text("be brief")]}
    ),
    "messages[].role=developer": Says(
        {"messages": [{"role": "developer", "content": "be brief"}, HELLO]}, {"system": [text("be brief")]}
    ),
    "messages[].role=user": Says(
        {"messages": [{"role": "user", "content": "hi"}]},
        {"messages": [{"role": "user", "content": [text("hi")]}]},
    ),
    "messages[].role=assistant": Says(
        amid({"role": "assistant", "content": "hi"}),
        said_amid({"role": "assistant", "content": [text("hi")]}),
    ),
    "messages[].role=tool": Says(
        {"messages": [HELLO, CALLED, {"role": "tool", "tool_call_id": "c1", "content": "rain"}]},
        {
            "messages": [
                SAID_HELLO,
                SAID_CALLED,
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [text("rain")]}],
                },
            ]
        },
    ),
    "messages[].role=function": Raises(amid({"role": "function", "name": "f", "content": "1"})),
    "messages[last].role=assistant": Raises({"messages": [HELLO, {"role": "assistant", "content": "The"}]}),
    "messages[].content": says_parts(text("hi"), text("hi")),
    "messages[].text": says_parts(text("a b"), text("a b")),
    "messages[].image_url": says_parts(
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
    ),
    "messages[].image_url.detail": says_parts(
        {"type": "image_url", "image_url": {"url": "https://h/cat.png", "detail": "high"}},
        {"type": "image", "source": {"type": "url", "url": "https://h/cat.png"}},
    ),
    "messages[].input_audio": Raises(
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]}]}
    ),
    "messages[].file": says_parts(
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
            "title": "a.pdf",
        },
    ),
    "messages[].prompt_cache_breakpoint": Changes(
        {
            "messages": [
                {
                    "role": "user",
                    "content": [text("hello") | {"prompt_cache_breakpoint": {"mode": "explicit"}}],
                }
            ]
        }
    ),
    "messages[].name": Raises({"messages": [HELLO | {"name": "ada"}]}),
    "messages[].tool_calls": Says(amid(CALLED), said_amid(SAID_CALLED)),
    "messages[].refusal": Says(
        amid({"role": "assistant", "content": None, "refusal": "no"}),
        said_amid({"role": "assistant", "content": [text("no")]}),
    ),
    "messages[].reasoning_content": Raises(
        amid({"role": "assistant", "content": "hi", "reasoning_content": "hm"})
    ),
    "messages[].thinking_blocks": Says(
        amid(
            {
                "role": "assistant",
                "content": "hi",
                "reasoning_content": "hm",
                "thinking_blocks": [THOUGHT, {"type": "redacted_thinking", "data": "x"}],
            }
        ),
        said_amid(
            {
                "role": "assistant",
                "content": [THOUGHT, {"type": "redacted_thinking", "data": "x"}, text("hi")],
            }
        ),
    ),
    "messages[].annotations": Says(
        amid({"role": "assistant", "content": "hi", "annotations": [{"type": "url_citation"}]}),
        said_amid({"role": "assistant", "content": [text("hi")]}),
    ),
    "messages[].audio": Raises(amid({"role": "assistant", "content": "hi", "audio": {"id": "a"}})),
    "messages[].function_call": Raises(
        amid({"role": "assistant", "content": "hi", "function_call": {"name": "f", "arguments": "{}"}})
    ),
    "max_completion_tokens": Says({"max_completion_tokens": 7}, {"max_tokens": 7}),
    "max_tokens": Says({"max_tokens": 8}, {"max_tokens": 8}),
    "temperature": Says({"temperature": 0.5}, {"temperature": 0.5}),
    "top_p": Says({"top_p": 0.9}, {"top_p": 0.9}),
    "stop": Says({"stop": ["END", "."]}, {"stop_sequences": ["END", "."]}),
    "n": Raises({"n": 2}),
    "seed": Raises({"seed": 0}),
    "reasoning_effort": Says(
        {"reasoning_effort": "high"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
    ),
    "verbosity": Raises({"verbosity": "low"}),
    "presence_penalty": Raises({"presence_penalty": 0.1}),
    "frequency_penalty": Raises({"frequency_penalty": -1}),
    "logit_bias": Raises({"logit_bias": {"50256": -100}}),
    "logprobs": Raises({"logprobs": True}),
    "top_logprobs": Raises({"top_logprobs": 3}),
    "response_format": Says(
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "response_format.text": Says({"response_format": {"type": "text"}}, {}),
    "response_format.json_schema": Says(
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "response_format.json_schema.description": Says(
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "description": "a count", "schema": SCHEMA},
            }
        },
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA | {"description": "a count"}}}},
    ),
    "response_format.json_schema.strict": Says(
        {"response_format": {"type": "json_schema", "json_schema": {"strict": True, "schema": SCHEMA}}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "response_format.json_object": Raises({"response_format": {"type": "json_object"}}),
    "tools": Says({"tools": [WEATHER]}, {"tools": [SAID_WEATHER]}),
    "tools[].function.strict": Says(
        {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": SCHEMA}}]},
        {"tools": [{"name": "f", "strict": True, "input_schema": SCHEMA}]},
    ),
    "tools[].type=custom": Raises({"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
    "tool_choice": Says(
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"tools": [SAID_WEATHER], "tool_choice": {"type": "tool", "name": "weather"}},
    ),
    "tool_choice.allowed_tools": Raises(
        {"tools": [WEATHER], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}
    ),
    "tool_choice.custom": Raises({"tools": [WEATHER], "tool_choice": {"type": "custom", "custom": {}}}),
    "parallel_tool_calls": Says(
        {"tools": [WEATHER], "parallel_tool_calls": False},
        {"tools": [SAID_WEATHER], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "functions": Raises({"functions": [{"name": "f"}]}),
    "function_call": Raises({"function_call": "auto"}),
    "modalities": Raises({"modalities": ["text", "audio"]}),
    "audio": Raises({"audio": {"voice": "ash", "format": "wav"}}),
    "prediction": Raises({"prediction": {"type": "content", "content": "a"}}),
    "web_search_options": Raises({"web_search_options": {}}),
    "moderation": Raises({"moderation": {"model": "m"}}),
    "user": Says({"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
    "safety_identifier": Says({"safety_identifier": "s-1"}, {"metadata": {"user_id": "s-1"}}),
    "metadata": Changes({"metadata": {"team": "a"}}),
    "store": Raises({"store": True}),
    "service_tier": Says({"service_tier": "default"}, {"service_tier": "standard_only"}),
    "prompt_cache_key": Changes({"prompt_cache_key": "k"}),
    "prompt_cache_options": Changes({"prompt_cache_options": {"mode": "implicit"}}),
    "prompt_cache_retention": Changes({"prompt_cache_retention": "24h"}),
    "stream": Raises({"stream": True}),
    "stream_options": Raises({"stream_options": {"include_usage": True}}),
    "finish_reason=stop": Answers({"stop_reason": "end_turn"}, {"finish_reason": "stop"}),
    "finish_reason=length": Answers({"stop_reason": "max_tokens"}, {"finish_reason": "length"}),
    "finish_reason=tool_calls": Answers({"stop_reason": "tool_use"}, {"finish_reason": "tool_calls"}),
    "finish_reason=content_filter": Answers({"stop_reason": "refusal"}, {"finish_reason": "content_filter"}),
    "message.content": Answers({"content": [text("a"), text("b")]}, {"message.content": "ab"}),
    "message.tool_calls": Answers(
        {"content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1]}}]},
        {
            "message.tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":[1]}'}}
            ],
            "message.content": None,
        },
    ),
    "message.refusal": Answers(
        {"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "not this"}},
        {"message.refusal": "not this"},
    ),
    "message.reasoning_content": Answers(
        {"content": [THOUGHT, text("hi")]},
        {
            "message.reasoning_content": "hm",
            "message.thinking_blocks": [THOUGHT],
            "message.content": "hi",
        },
    ),
    "usage": Answers(
        {"usage": {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 2}},
        {"usage.prompt_tokens": 5, "usage.completion_tokens": 4, "usage.total_tokens": 9},
    ),
}


def write(body: Mapping[str, Any], endpoint: Endpoint = Endpoint.CHAT) -> Any:
    """Anthropic's request of a request."""
    call = Call(
        endpoint=endpoint,
        model=MODEL,
        body=orjson.dumps(body),
        client_request_id="r/1",
        timeout_s=5.0,
    )
    return orjson.loads(write_body(call))


def at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value[name]
    return value


def test_the_table_has_every_field_and_each_row_its_example() -> None:
    """No field of OpenAI's is without a row, no row without a proof, and nothing is proved that is no row."""
    assert set(CHAT_FIELDS) == set(CHAT) == set(EXAMPLES)
    assert set(EMBEDDING_FIELDS) == set(EMBEDDINGS)


@pytest.mark.parametrize("name", CHAT)
def test_what_a_row_promises_holds(name: str) -> None:
    """Mapped: the words of Anthropic's that are expected. Error: one that names it. Not applicable: no difference."""
    support, example = CHAT_FIELDS[name].support, EXAMPLES[name]
    match example:
        case Says():
            assert support is not Support.ERROR
            assert write(PLAIN | dict(example.asked)) == SAID_PLAIN | dict(example.said)
        case Changes():
            assert support is Support.NOT_APPLICABLE
            assert write(PLAIN | dict(example.nothing_by)) == SAID_PLAIN
        case Raises():
            assert support is Support.ERROR
            with pytest.raises(UntranslatableError) as caught:
                write(PLAIN | dict(example.asked))
            named = re.sub(r"\[\d+\]", "[]", caught.value.param)
            assert named == name or name.startswith((f"{named}.", f"{named}="))
            assert caught.value.why == CHAT_FIELDS[name].note
        case Answers():
            assert support is Support.MAPPED
            told = {"id": "m1", "content": [], "stop_reason": "end_turn", "model": MODEL}
            ours = read_answer(told | dict(example.told), created=0)
            assert ours is not None
            for path, value in example.ours.items():
                assert at(ours if path.startswith("usage") else ours["choices"][0], path) == value


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings_are_refused_by_name(name: str) -> None:
    """Whatever is asked of embeddings, the error names the endpoint."""
    assert EMBEDDING_FIELDS[name].support is Support.ERROR
    with pytest.raises(UntranslatableError, match="/v1/embeddings"):
        write({"model": "m", "input": "a", name: "x"}, Endpoint.EMBEDDINGS)


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("temperature", 1),
        ("temperature", 1.0),
        ("top_p", 1),
        ("n", 1),
        ("verbosity", "medium"),
        ("presence_penalty", 0),
        ("frequency_penalty", 0.0),
        ("logit_bias", {}),
        ("logprobs", False),
        ("top_logprobs", 0),
        ("functions", []),
        ("modalities", ["text"]),
        ("store", False),
        ("stream", False),
        ("tools", []),
        ("stop", []),
        ("tool_choice", "auto"),
        ("tool_choice", "none"),
        ("parallel_tool_calls", True),
        ("parallel_tool_calls", False),
        *((name, None) for name in RULES if name not in ("model", "messages")),
    ],
)
def test_what_happens_anyway_is_accepted(name: str, usual: Any) -> None:
    """A neutral value, or null, of any field changes nothing."""
    assert write(PLAIN | {name: usual}) == SAID_PLAIN


@pytest.mark.parametrize("name", ["n", "presence_penalty", "top_logprobs", "logprobs"])
def test_a_neutral_number_is_no_flag(name: str) -> None:
    """True is not 1 and False not 0, nor the other way round."""
    usual = {"n": True, "logprobs": 0}.get(name, False)
    with pytest.raises(UntranslatableError, match=name):
        write(PLAIN | {name: usual})
