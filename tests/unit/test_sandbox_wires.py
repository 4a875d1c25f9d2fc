"""One sandbox, three wires: the same prompt is the same everywhere, and each wire has a word for each fault."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.sandbox.app import Behaviour, Sandbox
from batchmill.sandbox.compose import REFUSAL, THOUGHT_TOKENS
from batchmill.sandbox.faults import FAULTS
from batchmill.sandbox.limits import Allowance, LimitRules
from batchmill.sandbox.outcomes import Answer
from batchmill.sandbox.prompts import WireName
from batchmill.sandbox.request import Request
from batchmill.sandbox.wires.anthropic.wire import ANTHROPIC
from batchmill.sandbox.wires.base import Wire
from batchmill.sandbox.wires.gemini.wire import GEMINI
from batchmill.sandbox.wires.openai.wire import OPENAI

WIRES: list[Wire] = [OPENAI, ANTHROPIC, GEMINI]
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
TEXT_OF: Mapping[WireName, Callable[[Any], str]] = {
    WireName.OPENAI: lambda answer: answer["choices"][0]["message"]["content"],
    WireName.ANTHROPIC: lambda answer: answer["content"][0]["text"],
    WireName.GEMINI: lambda answer: answer["candidates"][0]["content"]["parts"][0]["text"],
}
INPUT_OF: Mapping[WireName, Callable[[Any], int]] = {
    WireName.OPENAI: lambda usage: usage["prompt_tokens"],
    WireName.ANTHROPIC: lambda usage: usage["input_tokens"] + usage["cache_read_input_tokens"],
    WireName.GEMINI: lambda usage: usage["promptTokenCount"],
}
OUTPUT_OF: Mapping[WireName, Callable[[Any], int]] = {
    WireName.OPENAI: lambda usage: usage["completion_tokens"],
    WireName.ANTHROPIC: lambda usage: usage["output_tokens"],
    WireName.GEMINI: lambda usage: usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0),
}
TOOL = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}


def post(sandbox: Sandbox, path: str, body: Mapping[str, Any]) -> Answer:
    """The answer to a call with a key for every wire."""
    headers = {"x-api-key": "any", "anthropic-version": "2023-06-01", "x-goog-api-key": "any"}
    request = Request(
        method="POST",
        path=path,
        body=json.dumps(body).encode(),
        request_id="req_1",
        client_request_id="",
        headers=headers,
    )
    outcome = sandbox.handle(request).outcome
    assert isinstance(outcome, Answer)
    return outcome


def say(wire: Wire, sandbox: Sandbox, text: str, model: str = "m") -> tuple[int, str]:
    """Status and text of one short conversation by a wire."""
    if wire is OPENAI:
        system = {"role": "system", "content": "Be short."}
        body: dict[str, Any] = {"model": model, "messages": [system, {"role": "user", "content": text}]}
        answer = post(sandbox, CHAT, body)
    elif wire is ANTHROPIC:
        body = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": text}]}
        answer = post(sandbox, "/v1/messages", body | {"system": "Be short."})
    else:
        body = {
            "contents": [{"parts": [{"text": text}]}],
            "systemInstruction": {"parts": [{"text": "Be short."}]},
        }
        answer = post(sandbox, f"/v1/models/{model}:generateContent", body)
    if answer.status != 200:
        return answer.status, ""
    return 200, TEXT_OF[wire.name](json.loads(answer.body))


def chat(sandbox: Sandbox | None = None, question: str = "hello", path: str = CHAT, **more: Any) -> Any:
    """OpenAI's answer to a question."""
    prompt = (
        {"input": question} if path == RESPONSES else {"messages": [{"role": "user", "content": question}]}
    )
    answer = post(sandbox or Sandbox(Behaviour()), path, {"model": "m", **prompt, **more})
    return json.loads(answer.body)


def test_same_prompt_same_text_on_every_wire() -> None:
    """A conversation of plain texts is one prompt, however a provider writes it."""
    openai, anthropic, gemini = (say(wire, Sandbox(Behaviour()), "hello") for wire in WIRES)
    assert openai == anthropic == gemini
    assert "not a model" in openai[1]


def test_same_prompt_same_fault_on_every_wire() -> None:
    """Chance falls alike: a first call that fails by one wire fails by the others."""
    behaviour = Behaviour(fault_rates={"500": 0.5}, seed=1)
    seen = {n: {say(wire, Sandbox(behaviour), f"q{n}")[0] for wire in WIRES} for n in range(30)}
    assert all(len(statuses) == 1 for statuses in seen.values())
    assert set.union(*seen.values()) == {200, 500}


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_every_wire_has_a_word_for_every_fault(wire: Wire) -> None:
    """A fault without a way to spoil an answer is an error of the wire's own, and there are no others."""
    assert set(wire.faults) == {name for name, fault in FAULTS.items() if fault.spoil is None}


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_statuses_are_those_that_faults_are_named_for(wire: Wire) -> None:
    """`529` is a 529 also where the provider has none of its own."""
    assert all(complaint.status == int(n) for n, complaint in wire.faults.items() if n.isdecimal())


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_replies_are_replayed_on_every_wire(wire: Wire) -> None:
    """A known question gets its reply."""
    assert say(wire, Sandbox(Behaviour(replies={"6 x 7?": "42"})), "6 x 7?") == (200, "42")


def test_requests_share_a_models_window() -> None:
    """A model's limit is the model's, by whichever wire it is called."""
    sandbox = Sandbox(Behaviour(limits=LimitRules(rpm=Allowance(of_all=2))), clock_ns=lambda: 0)
    assert [say(wire, sandbox, "hello")[0] for wire in WIRES] == [200, 200, 429]


def test_limits_of_another_wire_are_not_shown() -> None:
    """Input and output apart are Anthropic's alone: OpenAI's calls are not held to them."""
    rules = LimitRules(rpm=Allowance(of_all=9), itpm=Allowance(of_all=1), otpm=Allowance(of_all=1))
    body = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
    answer = post(Sandbox(Behaviour(limits=rules), clock_ns=lambda: 0), CHAT, body)
    assert answer.status == 200
    assert {name.rpartition("-")[2] for name, _ in answer.headers} == {"requests"}


def test_openai_calls_a_tool() -> None:
    """Chat nests the call in the message, responses has an item for it; the arguments are of the schema."""
    (choice,) = chat(question="call_tool", tools=[{"type": "function", "function": TOOL}])["choices"]
    function = choice["message"]["tool_calls"][0]["function"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert (function["name"], json.loads(function["arguments"])) == ("add", {"a": 0})
    (item,) = chat(question="call_tool", path=RESPONSES, tools=[{"type": "function", **TOOL}])["output"]
    assert (item["type"], item["name"], json.loads(item["arguments"])) == ("function_call", "add", {"a": 0})


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ("auto", "stop"),
        ("none", "stop"),
        ("required", "tool_calls"),
        ({"type": "function", "function": {"name": "add"}}, "tool_calls"),
    ],
)
def test_openai_tool_choice(choice: Any, reason: str) -> None:
    """A tool that must be called is called."""
    answer = chat(tools=[{"type": "function", "function": TOOL}], tool_choice=choice)
    assert answer["choices"][0]["finish_reason"] == reason


def test_openai_answers_once_the_result_is_there() -> None:
    """The same tool is not called for ever."""
    messages = [
        {"role": "user", "content": "call_tool"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "x", "content": "7"},
    ]
    answer = chat(messages=messages, tools=[{"type": "function", "function": TOOL}])
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (CHAT, "response_format", {"type": "json_schema", "json_schema": {"schema": TOOL["parameters"]}}),
        (RESPONSES, "text", {"format": {"type": "json_schema", "name": "a", "schema": TOOL["parameters"]}}),
    ],
)
def test_openai_structured_output(path: str, field: str, value: Any) -> None:
    """The text is JSON of the schema."""
    answer = chat(path=path, **{field: value})
    said = answer["choices"][0]["message"] if path == CHAT else answer["output"][0]["content"][0]
    assert json.loads(said.get("content") or said["text"]) == {"a": 0}


def test_openai_json_mode() -> None:
    """An object with the answer in it."""
    answer = chat(response_format={"type": "json_object"})
    assert "not a model" in json.loads(answer["choices"][0]["message"]["content"])["answer"]


def test_openai_stop() -> None:
    """The text ends before the first of them."""
    (choice,) = chat(stop=["never", " sandbox"])["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("This is the batchmill", "stop")


@pytest.mark.parametrize(
    "more", [{"reasoning_effort": "low"}, {"reasoning": {"effort": "high"}}, {"reasoning": {"max_tokens": 9}}]
)
def test_openai_counts_reasoning_as_output(more: dict[str, Any]) -> None:
    """Its tokens are a part of the completion's."""
    plain, thought = chat()["usage"], chat(**more)["usage"]
    assert thought["completion_tokens_details"]["reasoning_tokens"] == THOUGHT_TOKENS
    assert thought["completion_tokens"] == plain["completion_tokens"] + THOUGHT_TOKENS


def test_thinking_stays_within_the_limit() -> None:
    """Tokens for thinking are taken from the answer's; there may be nothing left to say."""
    answer = chat(reasoning_effort="low", max_completion_tokens=10)
    (choice,) = answer["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")
    assert answer["usage"]["completion_tokens"] == 10


def test_openai_manners() -> None:
    """A refusal beside no content, a filtered answer, an empty one."""
    said = {name: chat(model=f"sandbox/{name}")["choices"][0] for name in ("refusal", "filtered", "empty")}
    assert said["refusal"]["message"] == {"role": "assistant", "content": None, "refusal": REFUSAL}
    assert (said["filtered"]["message"]["content"], said["filtered"]["finish_reason"]) == (
        "",
        "content_filter",
    )
    assert (said["empty"]["message"]["content"], said["empty"]["finish_reason"]) == ("", "stop")


def test_openai_cached_tokens_are_part_of_the_prompt() -> None:
    """Half of it, told beside the whole."""
    usage = chat(question="one two three four five", model="sandbox/cached-often")["usage"]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (5, 2)


def test_cost_is_told_where_it_is_asked_for() -> None:
    """As OpenRouter tells it, in dollars, and as it stands on the bill."""
    sandbox = Sandbox(Behaviour())
    assert "cost" not in chat(sandbox)["usage"]
    before = sandbox.bill.statement()["cost_nanos"]
    usage = chat(sandbox, usage={"include": True})["usage"]
    assert round(usage["cost"] * 1e9) == sandbox.bill.statement()["cost_nanos"] - before > 0


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_usage_is_what_is_billed(wire: Wire) -> None:
    """The provider's own account and what it tells the caller agree, thinking and refusals included."""
    path, body = {
        WireName.OPENAI: (
            CHAT,
            {"messages": [{"role": "user", "content": "a b"}], "reasoning_effort": "low"},
        ),
        WireName.ANTHROPIC: (
            "/v1/messages",
            {
                "messages": [{"role": "user", "content": "a b"}],
                "max_tokens": 99,
                "thinking": {"type": "adaptive"},
            },
        ),
        WireName.GEMINI: (
            "/v1/models/{}:generateContent",
            {
                "contents": [{"parts": [{"text": "a b"}]}],
                "generationConfig": {"thinkingConfig": {"thinkingBudget": 9}},
            },
        ),
    }[wire.name]
    for model in ("m", "sandbox/refusal", "sandbox/empty", "sandbox/cached"):
        sandbox = Sandbox(Behaviour())
        named = {} if wire is GEMINI else {"model": model}
        usage = json.loads(post(sandbox, path.format(model), body | named).body)
        usage = usage.get("usage") or usage["usageMetadata"]
        bill = sandbox.bill.statement()
        assert (INPUT_OF[wire.name](usage), OUTPUT_OF[wire.name](usage)) == (
            bill["input_tokens"],
            bill["output_tokens"],
        )


FIELDS = {
    CHAT: "tools tool_choice response_format stop reasoning reasoning_effort usage messages",
    RESPONSES: "tools tool_choice text reasoning input instructions",
    "/v1/messages": (
        "messages system tools tool_choice stop_sequences temperature top_k metadata thinking output_config "
        "output_format service_tier max_tokens"
    ),
    "/v1/models/m:generateContent": (
        "contents systemInstruction tools toolConfig safetySettings generationConfig cachedContent"
    ),
    "/v1/models/m:batchEmbedContents": "requests",
    "/v1/models/m:countTokens": "contents generateContentRequest",
}
WORDS = (
    "type role content parts text source name id input schema format function functionCall functionDeclarations "
    "parameters input_schema any tool user model assistant object tool_use tool_result tool_use_id image base64 "
    "responseSchema responseMimeType application/json thinkingConfig stopSequences mode category json_schema"
)
words = st.sampled_from(WORDS.split())
plain = st.one_of(st.none(), st.booleans(), st.integers(-2, 3), words)
values = st.recursive(
    plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=4))
)


@given(st.data(), st.sampled_from(sorted(FIELDS)))
def test_nothing_sent_breaks_the_sandbox(data: st.DataObject, path: str) -> None:
    """Whatever stands in a field: it is answered, or refused as the caller's fault, never the sandbox's."""
    hello = {"role": "user", "content": "call_tool"}
    body: dict[str, Any] = {"contents": [{"parts": [{"text": "call_tool"}]}]}
    if "models/" not in path:
        body = {"model": "m", "max_tokens": 99, "messages": [hello], "input": "call_tool"}
        body = body if path != "/v1/messages" else {name: body[name] for name in list(body)[:3]}
    for name in data.draw(st.lists(st.sampled_from(FIELDS[path].split()), max_size=3)):
        body[name] = data.draw(values)
    assert post(Sandbox(Behaviour()), path, body).status in (200, 400, 403)
