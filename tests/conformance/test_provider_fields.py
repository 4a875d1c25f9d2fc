"""Whoever is asked, however: what a request says is heard, or is refused by the name of its field."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import pytest

from batchmill.providers.base import Verdict
from batchmill.providers.fields import Support
from batchmill.providers.http import UNSUPPORTED
from batchmill.sandbox.compose import THOUGHT_TOKENS
from batchmill.sandbox.logprobs import LOGPROB
from batchmill.sandbox.outcomes import NOT_A_MODEL
from tests.support.ways import OPENING, WAYS, Met, Stage, Way, says

Holds = Callable[[Met], bool]


def places(value: Any, names: Sequence[str]) -> Iterator[Any]:
    """What stands under these names, however deep."""
    if isinstance(value, dict):
        yield from (inner for name, inner in value.items() if name in names)
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from places(inner, names)


def arrives(value: Any, *names: str) -> Holds:
    """The value reaches the provider under one of the names."""
    return lambda met: value in list(places(met.asked, names))


def mentions(text: str) -> Holds:
    """The text reaches the provider."""
    return lambda met: text.encode() in met.heard[0].body


def function(name: str, **more: Any) -> Mapping[str, Any]:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": schema, **more}}


def calls(name: str) -> Holds:
    """The answer is a call of that function, with arguments of its schema."""

    def holds(met: Met) -> bool:
        [call] = met.message["tool_calls"]
        arguments = orjson.loads(call["function"]["arguments"])
        named = call["function"]["name"] == name and arguments == {"city": NOT_A_MODEL}
        return named and met.reply.finish_reason == "tool_calls"

    return holds


def is_text(met: Met) -> bool:
    return bool(met.message["content"].startswith(OPENING)) and met.reply.finish_reason == "stop"


def is_cut(met: Met) -> bool:
    usage = met.reply.usage
    return usage is not None and (met.reply.finish_reason, usage.output_tokens) == ("length", 4)


def is_stopped(met: Met) -> bool:
    return met.message["content"] == OPENING and met.reply.finish_reason == "stop"


def has_two(met: Met) -> bool:
    return [choice["index"] for choice in met.answer["choices"]] == [0, 1]


def thinks(met: Met) -> bool:
    return met.reply.usage is not None and met.reply.usage.reasoning_tokens == THOUGHT_TOKENS


def tells_logprobs(most: int) -> Holds:
    """Each token of the text with its probability, and the likeliest in its place."""

    def holds(met: Met) -> bool:
        content = met.answer["choices"][0]["logprobs"]["content"]
        whole = "".join(token["token"] for token in content) == met.message["content"]
        likely = all(token["logprob"] == LOGPROB for token in content)
        return whole and likely and all(len(token["top_logprobs"]) == most for token in content)

    return holds


def json_of(*names: str) -> Holds:
    """The answer is an object with these names."""
    return lambda met: tuple(orjson.loads(met.message["content"])) == names


def shown(kind: str, **part: Any) -> Mapping[str, Any]:
    part = {"type": kind, kind: part}
    return {"messages": [says("user", [{"type": "text", "text": "What is it?"}, part])]}


TOOLS = [function("look"), function("hear")]
HEARD_BACK = [
    says("user", "How warm is it? call_tool"),
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"city":"Lima"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "21 degrees"},
]
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}
THINKING = {"reasoning_effort": "low", "max_completion_tokens": 4_096}

FIELDS: list[tuple[str, Mapping[str, Any], Holds]] = [
    ("messages[].role=developer", {"messages": [says("developer", "Be brief."), says("user", "Why?")]},
     mentions("Be brief.")),
    ("messages[].role=tool", {"messages": HEARD_BACK, "tools": TOOLS}, mentions("21 degrees")),
    ("messages[].role=tool", {"messages": HEARD_BACK, "tools": TOOLS}, is_text),
    ("messages[].role=function",
     {"messages": [says("user", "a"), {"role": "function", "name": "look", "content": "21 degrees"}]},
     mentions("21 degrees")),
    ("messages[].tool_calls", {"messages": HEARD_BACK, "tools": TOOLS}, mentions("Lima")),
    ("messages[].name", {"messages": [{**says("user", "hello"), "name": "Ann"}]}, mentions("Ann")),
    ("messages[].image_url", shown("image_url", url="data:image/png;base64,aW1hZ2U="), mentions("aW1hZ2U=")),
    ("messages[].image_url", shown("image_url", url="https://example.com/a.png"),
     mentions("https://example.com/a.png")),
    ("messages[].image_url.detail", shown("image_url", url="data:image/png;base64,aW1hZ2U=", detail="high"),
     mentions("aW1hZ2U=")),
    ("messages[].file", shown("file", file_data="data:application/pdf;base64,ZmlsZQ=="), mentions("ZmlsZQ==")),
    ("messages[].input_audio", shown("input_audio", data="c291bmQ=", format="wav"), mentions("c291bmQ=")),
    ("max_completion_tokens", {"max_completion_tokens": 4}, is_cut),
    ("max_tokens", {"max_tokens": 4}, is_cut),
    ("temperature", {"temperature": 0.5}, arrives(0.5, "temperature")),
    ("top_p", {"top_p": 0.5}, arrives(0.5, "top_p", "topP")),
    ("stop", {"stop": ["nothing", "none"]}, is_stopped),
    ("stop", {"stop": "nothing"}, is_stopped),
    ("n", {"n": 2}, has_two),
    ("seed", {"seed": 7}, arrives(7, "seed")),
    ("reasoning_effort", THINKING, thinks),
    ("verbosity", {"verbosity": "low"}, arrives("low", "verbosity")),
    ("presence_penalty", {"presence_penalty": 0.5}, arrives(0.5, "presence_penalty", "presencePenalty")),
    ("frequency_penalty", {"frequency_penalty": 0.5}, arrives(0.5, "frequency_penalty", "frequencyPenalty")),
    ("logit_bias", {"logit_bias": {"50256": -100}}, arrives(-100, "50256")),
    ("logprobs", {"logprobs": True}, tells_logprobs(0)),
    ("top_logprobs", {"top_logprobs": 2, "logprobs": True}, tells_logprobs(2)),
    ("response_format.text", {"response_format": {"type": "text"}}, is_text),
    ("response_format.json_object", {"response_format": {"type": "json_object"}}, json_of("answer")),
    ("response_format.json_schema",
     {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}},
     json_of("colour", "count")),
    ("tools", {"tools": TOOLS, "messages": [says("user", "How warm? call_tool")]}, calls("look")),
    ("tools", {"tools": TOOLS}, is_text),
    ("tools[].function.strict", {"tools": [function("look", strict=True)], "tool_choice": "auto"},
     lambda met: arrives(True, "strict")(met) or arrives("VALIDATED", "mode")(met)),
    ("tool_choice", {"tools": TOOLS, "tool_choice": "required"}, calls("look")),
    ("tool_choice", {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "hear"}}},
     calls("hear")),
    ("tool_choice",
     {"tools": TOOLS, "tool_choice": "none", "messages": [says("user", "How warm? call_tool")]}, is_text),
    ("parallel_tool_calls", {"tools": TOOLS, "parallel_tool_calls": False},
     lambda met: arrives(False, "parallel_tool_calls")(met) or arrives(True, "disable_parallel_tool_use")(met)),
    ("modalities", {"modalities": ["text", "audio"]}, arrives(["text", "audio"], "modalities")),
    ("prediction", {"prediction": {"type": "content", "content": "x"}}, arrives("x", "content")),
    ("user", {"user": "u-1"}, arrives("u-1", "user", "user_id")),
    ("safety_identifier", {"safety_identifier": "s-1"}, arrives("s-1", "safety_identifier", "user_id")),
    ("metadata", {"metadata": {"k": "v-1"}}, mentions("v-1")),
    ("store", {"store": True}, arrives(True, "store")),
    ("stream_options", {"stream_options": {"include_usage": True}}, mentions("include_usage")),
]  # fmt: skip
"""A row of the table of fields, a request that uses it, and how it shows that it was heard."""


def of(support: Support) -> list[Any]:
    """The ways and requests whose field becomes that."""
    return [
        pytest.param(way, name, body, holds, id=f"{way.name}-{name}-{number}")
        for way in WAYS.values()
        for number, (name, body, holds) in enumerate(FIELDS)
        if way.fields[name].support is support
    ]


@pytest.mark.parametrize(("way", "name", "body", "holds"), of(Support.MAPPED))
def test_what_is_mapped_is_heard(
    stage: Stage, way: Way, name: str, body: Mapping[str, Any], holds: Holds
) -> None:
    """The provider gets it in its own words, and does as it says."""
    met = stage.call(way, way.chat(**body))
    assert met.reply.verdict is Verdict.ANSWERED, met.reply.error_message
    assert holds(met)


@pytest.mark.parametrize(("way", "name", "body", "holds"), of(Support.ERROR))
def test_what_cannot_be_said_is_refused_by_name(
    stage: Stage, way: Way, name: str, body: Mapping[str, Any], holds: Holds
) -> None:
    """Nothing is sent, and the message names the field."""
    met = stage.call(way, way.chat(**body))
    assert (met.reply.verdict, met.reply.error_code) == (Verdict.REFUSED, UNSUPPORTED)
    assert not met.heard
    named = re.sub(r"\[\d+\]", "[]", met.reply.error_message)
    assert name.partition(".role=")[0] in named


@pytest.mark.parametrize(("way", "name", "body", "holds"), of(Support.NOT_APPLICABLE))
def test_what_does_not_matter_changes_nothing(
    stage: Stage, way: Way, name: str, body: Mapping[str, Any], holds: Holds
) -> None:
    """It is left out, and the answer is the same."""
    met = stage.call(way, way.chat(**body))
    assert is_text(met)
    assert met.asked == stage.call(way, way.chat()).asked
