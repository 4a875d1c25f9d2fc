"""The table of what becomes of OpenAI's fields at Gemini, proved cell by cell."""

from typing import Any, get_type_hints

import orjson
import pytest
from openai.types import embedding_create_params
from openai.types.chat import completion_create_params

from batchmill.providers.fields import Field, Support
from batchmill.providers.gemini import answer, ask
from batchmill.providers.gemini.wire import CHAT_FIELDS, EMBEDDING_FIELDS
from batchmill.providers.wire import UntranslatableError
from batchmill.requests.model import Endpoint

MODEL = "gemini-2.5-flash"
HELLO = {"role": "user", "content": "hello"}
SAID = {"role": "user", "parts": [{"text": "hello"}]}
PLAIN: dict[str, Any] = {"contents": [SAID]}

CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"x": 1}'}}
CALLED = {"functionCall": {"id": "c1", "name": "look", "args": {"x": 1}}}
SIGNATURE = {"google": {"thought_signature": "c2ln"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
DECLARED = [{"functionDeclarations": [{"name": "look", "parametersJsonSchema": {"type": "object"}}]}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def translated(
    asked: dict[str, Any], model: str = MODEL, endpoint: Endpoint = Endpoint.CHAT
) -> dict[str, Any]:
    return ask.translate(endpoint, model, orjson.dumps({"model": model} | asked))


def chat(**asked: Any) -> dict[str, Any]:
    return {"messages": [HELLO]} | asked


def said(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


def user(*parts: Any) -> dict[str, Any]:
    return said({"role": "user", "content": list(parts)})


def turns(*contents: Any, **more: Any) -> dict[str, Any]:
    return {"contents": list(contents)} | more


def configured(**config: Any) -> dict[str, Any]:
    return PLAIN | {"generationConfig": config}


def model(*parts: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url} | more}


PNG = "data:image/png;base64,AAAA"
INLINE = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}

MAPPED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("model", chat(), PLAIN),
    ("messages", said(HELLO, {"role": "assistant", "content": "hi"}), turns(SAID, model({"text": "hi"}))),
    (
        "messages[].role=system",
        said(
            {"role": "system", "content": "A"},
            HELLO,
            {"role": "system", "content": [{"type": "text", "text": "B"}]},
        ),
        turns(SAID, systemInstruction={"parts": [{"text": "A\n\nB"}]}),
    ),
    (
        "messages[].role=developer",
        said({"role": "developer", "content": "A"}, HELLO),
        turns(SAID, systemInstruction={"parts": [{"text": "A"}]}),
    ),
    ("messages[].role=user", said(HELLO, HELLO), turns({"role": "user", "parts": [{"text": "hello"}] * 2})),
    (
        "messages[].role=assistant",
        said(HELLO, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}, HELLO),
        turns(SAID, model({"text": "a"}, {"text": "b"}), SAID),
    ),
    (
        "messages[].role=tool",
        said(
            HELLO,
            {"role": "assistant", "tool_calls": [CALL, {**CALL, "id": "c2"}]},
            {"role": "tool", "tool_call_id": "c1", "content": '{"a": 1}'},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "b"}]},
            HELLO,
        ),
        turns(
            SAID,
            model(CALLED, {"functionCall": {"id": "c2", "name": "look", "args": {"x": 1}}}),
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "c1", "name": "look", "response": {"output": '{"a": 1}'}}},
                    {"functionResponse": {"id": "c2", "name": "look", "response": {"output": "b"}}},
                ],
            },
            SAID,
        ),
    ),
    (
        "messages[].tool_call_id",
        said(
            {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1", "content": ""}
        ),
        turns(
            model(CALLED),
            {
                "role": "user",
                "parts": [{"functionResponse": {"id": "c1", "name": "look", "response": {"output": ""}}}],
            },
        ),
    ),
    (
        "messages[last].role=assistant",
        said(HELLO, {"role": "assistant", "content": "I"}),
        turns(SAID, model({"text": "I"})),
    ),
    (
        "messages[].content",
        said({"role": "user", "content": ""}),
        turns({"role": "user", "parts": [{"text": ""}]}),
    ),
    ("messages[].content", user({"type": "text", "text": "hello"}), PLAIN),
    ("messages[].text", user({"type": "text", "text": "hello"}), PLAIN),
    ("messages[].image_url", user(image(PNG)), turns({"role": "user", "parts": [INLINE]})),
    (
        "messages[].image_url",
        user(image("https://h/a.JPG?x=1#y"), image("https://h/a")),
        turns(
            {
                "role": "user",
                "parts": [
                    {"fileData": {"fileUri": "https://h/a.JPG?x=1#y", "mimeType": "image/jpeg"}},
                    {"fileData": {"fileUri": "https://h/a"}},
                ],
            }
        ),
    ),
    (
        "messages[].image_url.detail",
        user(image(PNG, detail="low"), image(PNG, detail="low")),
        turns(
            {"role": "user", "parts": [INLINE, INLINE]},
            generationConfig={"mediaResolution": "MEDIA_RESOLUTION_LOW"},
        ),
    ),
    (
        "messages[].image_url.detail",
        user(image(PNG, detail="high")),
        turns(
            {"role": "user", "parts": [INLINE]}, generationConfig={"mediaResolution": "MEDIA_RESOLUTION_HIGH"}
        ),
    ),
    (
        "messages[].image_url.detail",
        user(image(PNG, detail="auto")),
        turns({"role": "user", "parts": [INLINE]}),
    ),
    (
        "messages[].input_audio",
        user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}),
        turns({"role": "user", "parts": [{"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}}]}),
    ),
    (
        "messages[].file",
        user(
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}
        ),
        turns({"role": "user", "parts": [{"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}]}),
    ),
    (
        "messages[].tool_calls",
        said({"role": "assistant", "content": "", "tool_calls": [{**CALL, "extra_content": SIGNATURE}]}),
        turns(model({**CALLED, "thoughtSignature": "c2ln"})),
    ),
    (
        "messages[].tool_calls",
        said(
            {
                "role": "assistant",
                "content": "see",
                "tool_calls": [{**CALL, "function": {"name": "look", "arguments": ""}}],
            }
        ),
        turns(model({"text": "see"}, {"functionCall": {"id": "c1", "name": "look", "args": {}}})),
    ),
    (
        "messages[].extra_content",
        said({"role": "assistant", "content": "hi", "tool_calls": [CALL], "extra_content": SIGNATURE}),
        turns(model({"text": "hi", "thoughtSignature": "c2ln"}, CALLED)),
    ),
    (
        "messages[].refusal",
        said({"role": "assistant", "content": None, "refusal": "No."}),
        turns(model({"text": "No."})),
    ),
    (
        "messages[].refusal",
        said({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}),
        turns(model({"text": "No."})),
    ),
    ("max_completion_tokens", chat(max_completion_tokens=9), configured(maxOutputTokens=9)),
    ("max_tokens", chat(max_tokens=9.0, max_completion_tokens=9), configured(maxOutputTokens=9)),
    ("temperature", chat(temperature=0), configured(temperature=0)),
    ("top_p", chat(top_p=0.5), configured(topP=0.5)),
    ("stop", chat(stop="a"), configured(stopSequences=["a"])),
    ("stop", chat(stop=["a", "b"]), configured(stopSequences=["a", "b"])),
    ("n", chat(n=3), configured(candidateCount=3)),
    ("n", chat(n=1), PLAIN),
    ("seed", chat(seed=-7), configured(seed=-7)),
    ("presence_penalty", chat(presence_penalty=0.5), configured(presencePenalty=0.5)),
    ("presence_penalty", chat(presence_penalty=0), PLAIN),
    ("frequency_penalty", chat(frequency_penalty=-1.5), configured(frequencyPenalty=-1.5)),
    ("frequency_penalty", chat(frequency_penalty=0.0), PLAIN),
    ("logprobs", chat(logprobs=True), configured(responseLogprobs=True)),
    ("logprobs", chat(logprobs=False), PLAIN),
    ("top_logprobs", chat(top_logprobs=3, logprobs=True), configured(responseLogprobs=True, logprobs=3)),
    ("top_logprobs", chat(top_logprobs=0), PLAIN),
    ("reasoning_effort", chat(reasoning_effort="low"), configured(thinkingConfig={"thinkingBudget": 1024})),
    ("tools", chat(tools=[TOOL]), PLAIN | {"tools": DECLARED}),
    (
        "tools",
        chat(tools=[{"type": "function", "function": {"name": "now", "description": "Tells."}}]),
        PLAIN | {"tools": [{"functionDeclarations": [{"name": "now", "description": "Tells."}]}]},
    ),
    ("tools", chat(tools=[]), PLAIN),
    (
        "tools[].function.strict",
        chat(tools=[{"type": "function", "function": {**TOOL["function"], "strict": True}}]),  # type: ignore[dict-item]
        PLAIN | {"tools": DECLARED, "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}}},
    ),
    *(
        (
            "tool_choice",
            chat(tools=[TOOL], tool_choice=choice),
            PLAIN | {"tools": DECLARED, "toolConfig": {"functionCallingConfig": config}},
        )
        for choice, config in [
            ("auto", {"mode": "AUTO"}),
            ("none", {"mode": "NONE"}),
            ("required", {"mode": "ANY"}),
            (
                {"type": "function", "function": {"name": "look"}},
                {"mode": "ANY", "allowedFunctionNames": ["look"]},
            ),
        ]
    ),
    ("response_format", chat(response_format={"type": "text"}), PLAIN),
    ("response_format.text", chat(response_format={"type": "text"}), PLAIN),
    (
        "response_format.json_object",
        chat(response_format={"type": "json_object"}),
        configured(responseMimeType="application/json"),
    ),
    (
        "response_format.json_schema",
        chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}),
        configured(responseMimeType="application/json", responseJsonSchema=SCHEMA),
    ),
    (
        "response_format.json_schema.description",
        chat(
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "x", "description": "A.", "schema": {**SCHEMA, "description": "B."}},
            }
        ),
        configured(
            responseMimeType="application/json", responseJsonSchema={**SCHEMA, "description": "A.\n\nB."}
        ),
    ),
]

ERRORS: list[tuple[str, dict[str, Any], str]] = [
    ("messages[].role=function", said({"role": "function", "name": "f", "content": "x"}), "messages[0]"),
    ("messages[].name", said({**HELLO, "name": "Ann"}), "messages[0].name"),
    ("messages[].audio", said(HELLO, {"role": "assistant", "audio": {"id": "a"}}), "messages[1].audio"),
    (
        "messages[].function_call",
        said({"role": "assistant", "function_call": {"name": "f", "arguments": ""}}),
        "messages[0].function_call",
    ),
    ("stream", chat(stream=True), "stream"),
    ("stream_options", chat(stream_options={"include_usage": True}), "stream_options"),
    ("store", chat(store=True), "store"),
    *(
        ("service_tier", chat(service_tier=tier), "service_tier")
        for tier in ("flex", "priority", "scale", "fast")
    ),
    ("parallel_tool_calls", chat(parallel_tool_calls=False), "parallel_tool_calls"),
    ("logit_bias", chat(logit_bias={"1": 5}), "logit_bias"),
    ("modalities", chat(modalities=["text", "audio"]), "modalities"),
    ("audio", chat(audio={"voice": "x", "format": "mp3"}), "audio"),
    ("prediction", chat(prediction={"type": "content", "content": "x"}), "prediction"),
    ("moderation", chat(moderation={"model": "x"}), "moderation"),
    ("verbosity", chat(verbosity="low"), "verbosity"),
    ("web_search_options", chat(web_search_options={}), "web_search_options"),
    ("functions", chat(functions=[{"name": "f"}]), "functions"),
    ("function_call", chat(function_call="auto"), "function_call"),
    ("tools[].type=custom", chat(tools=[{"type": "custom", "custom": {"name": "f"}}]), "tools[0].type"),
    (
        "tool_choice.allowed_tools",
        chat(
            tools=[TOOL],
            tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
        ),
        "tool_choice.type",
    ),
    (
        "tool_choice.custom",
        chat(tools=[TOOL], tool_choice={"type": "custom", "custom": {"name": "f"}}),
        "tool_choice.type",
    ),
]

IGNORED: list[tuple[str, dict[str, Any]]] = [
    ("user", chat(user="u")),
    ("metadata", chat(metadata={"a": "b"})),
    ("safety_identifier", chat(safety_identifier="u")),
    ("prompt_cache_key", chat(prompt_cache_key="k")),
    ("prompt_cache_options", chat(prompt_cache_options={"mode": "implicit"})),
    ("prompt_cache_retention", chat(prompt_cache_retention="24h")),
    (
        "messages[].prompt_cache_breakpoint",
        user({"type": "text", "text": "hello", "prompt_cache_breakpoint": {"mode": "explicit"}}),
    ),
]
"""Each leaves the plain request as it is."""

IGNORED_OF_MESSAGES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (f"messages[].{name}", {"role": "assistant", "content": "hi", name: value}, {"text": "hi"})
    for name, value in [
        ("reasoning_content", "hm"),
        ("thinking_blocks", [{"type": "thinking"}]),
        ("annotations", [{"type": "url_citation"}]),
    ]
]

NEUTRAL: list[dict[str, Any]] = [
    {"stream": False},
    {"store": False},
    {"service_tier": "auto"},
    {"service_tier": "default"},
    {"parallel_tool_calls": True},
    {"logit_bias": {}},
    {"modalities": ["text"]},
    {"verbosity": "medium"},
    {"functions": []},
    {"function_call": "none"},
    {"tool_choice": "none"},
]


def finished(reason: str, *parts: Any, **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": reason} | more]}


ANSWERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("finish_reason=stop", finished("STOP", {"text": "a"}), {"finish_reason": "stop"}),
    ("finish_reason=length", finished("MAX_TOKENS"), {"finish_reason": "length", "content": ""}),
    (
        "finish_reason=tool_calls",
        finished("STOP", {"functionCall": {"name": "f"}}),
        {"finish_reason": "tool_calls", "content": None},
    ),
    *(
        (
            "finish_reason=content_filter",
            finished(reason),
            {"finish_reason": "content_filter", "content": None},
        )
        for reason in ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII")
    ),
    (
        "finish_reason=content_filter",
        {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}},
        {"finish_reason": "content_filter", "content": None, "native_finish_reason": "SAFETY"},
    ),
    (
        "finish_reason=length",
        finished("MALFORMED_FUNCTION_CALL"),
        {"finish_reason": "length", "native_finish_reason": "MALFORMED_FUNCTION_CALL"},
    ),
    (
        "finish_reason=length",
        finished("BRAND_NEW", {"text": "a"}),
        {"finish_reason": "length", "native_finish_reason": "BRAND_NEW"},
    ),
    ("message.content", finished("STOP", {"text": "a"}, {"text": "b"}), {"content": "ab"}),
    (
        "message.content",
        finished("STOP", {"text": "a"}, INLINE),
        {"content": "a", "extra_content": {"google": {"parts": [INLINE]}}},
    ),
    (
        "message.content",
        finished("STOP", {"text": "a", "thoughtSignature": "c2ln"}),
        {"content": "a", "extra_content": SIGNATURE},
    ),
    (
        "message.tool_calls",
        finished("STOP", {**CALLED, "thoughtSignature": "c2ln"}, {"functionCall": {"name": "now"}})
        | {"responseId": "r"},
        {
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"x":1}'},
                    "extra_content": SIGNATURE,
                },
                {"id": "r_0_1", "type": "function", "function": {"name": "now", "arguments": "{}"}},
            ]
        },
    ),
    ("message.refusal", finished("SAFETY"), {"refusal": None}),
    (
        "message.reasoning_content",
        finished("STOP", {"text": "hm", "thought": True}, {"text": "a"}),
        {"reasoning_content": "hm", "content": "a"},
    ),
    (
        "usage",
        finished("STOP", {"text": "a"}) | {"usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 5}},
        {"finish_reason": "stop"},
    ),
]

EMBEDDINGS_MAPPED: list[tuple[str, dict[str, Any], list[dict[str, Any]]]] = [
    ("input", {"input": "a"}, [{"content": {"parts": [{"text": "a"}]}}]),
    (
        "input",
        {"input": ["a", ""]},
        [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": ""}]}}],
    ),
    ("model", {"input": "a"}, [{"content": {"parts": [{"text": "a"}]}}]),
    (
        "dimensions",
        {"input": "a", "dimensions": 8},
        [{"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 8}],
    ),
    ("user", {"input": "a", "user": "u"}, [{"content": {"parts": [{"text": "a"}]}}]),
    (
        "encoding_format",
        {"input": "a", "encoding_format": "float"},
        [{"content": {"parts": [{"text": "a"}]}}],
    ),
]


@pytest.mark.parametrize(("name", "asked", "expected"), MAPPED)
def test_what_is_mapped_is_said(name: str, asked: dict[str, Any], expected: dict[str, Any]) -> None:
    """Gemini's whole request, field for field."""
    assert CHAT_FIELDS[name].support is Support.MAPPED
    assert translated(asked) == expected


@pytest.mark.parametrize(("name", "asked", "param"), ERRORS)
def test_what_cannot_be_said_is_an_error(name: str, asked: dict[str, Any], param: str) -> None:
    """It names the field."""
    assert CHAT_FIELDS[name].support is Support.ERROR
    with pytest.raises(UntranslatableError) as caught:
        translated(asked)
    assert caught.value.param == param


@pytest.mark.parametrize(("name", "asked"), IGNORED)
def test_what_is_not_applicable_changes_nothing(name: str, asked: dict[str, Any]) -> None:
    """It is accepted, and the request is as without it."""
    assert CHAT_FIELDS[name].support is Support.NOT_APPLICABLE
    assert translated(asked) == PLAIN


@pytest.mark.parametrize(("name", "message", "part"), IGNORED_OF_MESSAGES)
def test_what_is_not_applicable_of_a_message_changes_nothing(
    name: str, message: dict[str, Any], part: dict[str, Any]
) -> None:
    """It is accepted, and the turn is as without it."""
    assert CHAT_FIELDS[name].support is Support.NOT_APPLICABLE
    assert translated(said(HELLO, message)) == turns(SAID, model(part))


def test_a_tools_name_changes_nothing() -> None:
    """The call that it answers names the function."""
    answered = {"role": "tool", "tool_call_id": "c1", "content": "a"}
    called = {"role": "assistant", "tool_calls": [CALL]}
    assert CHAT_FIELDS["messages[role=tool].name"].support is Support.NOT_APPLICABLE
    assert translated(said(called, {**answered, "name": "f"})) == translated(said(called, answered))


@pytest.mark.parametrize("strict", [True, False])
def test_a_schemas_strictness_changes_nothing(strict: bool) -> None:
    """Gemini keeps to it anyhow."""
    schema = {"name": "x", "schema": SCHEMA}
    assert CHAT_FIELDS["response_format.json_schema.strict"].support is Support.NOT_APPLICABLE
    asked = chat(response_format={"type": "json_schema", "json_schema": schema | {"strict": strict}})
    assert translated(asked) == translated(
        chat(response_format={"type": "json_schema", "json_schema": schema})
    )


@pytest.mark.parametrize("asked", NEUTRAL)
def test_values_that_ask_for_nothing_pass(asked: dict[str, Any]) -> None:
    """What Gemini does anyway needs no word of its own."""
    assert translated(chat(**asked)) == PLAIN


@pytest.mark.parametrize("name", [name for name in ask.CHAT if name != "messages"])
def test_null_is_not_given(name: str) -> None:
    """As at OpenAI; only messages cannot be null."""
    assert translated(chat(**{name: None})) == PLAIN


@pytest.mark.parametrize(("name", "told", "expected"), ANSWERS)
def test_what_an_answer_says_is_told(name: str, told: dict[str, Any], expected: dict[str, Any]) -> None:
    """In OpenAI's words where there are some."""
    assert CHAT_FIELDS[name].support is Support.MAPPED
    completion = answer.chat(told, created=1)
    assert completion is not None
    [choice] = completion["choices"]
    assert expected.items() <= (choice | choice["message"]).items()


@pytest.mark.parametrize(("name", "asked", "expected"), EMBEDDINGS_MAPPED)
def test_embeddings_are_asked_for(name: str, asked: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    """A request each, in order, all in one."""
    assert EMBEDDING_FIELDS[name]
    requests = translated(asked, "gemini-embedding-001", Endpoint.EMBEDDINGS)["requests"]
    assert requests == [{"model": "models/gemini-embedding-001"} | each for each in expected]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"input": "a", "encoding_format": "base64"}, "encoding_format"),
        ({"input": [1, 2]}, "input[0]"),
        ({"input": [[1, 2]]}, "input[0]"),
        ({"input": []}, "input"),
        ({}, "input"),
        ({"input": "a", "task_type": "x"}, "task_type"),
        ({"input": "a", "dimensions": "8"}, "dimensions"),
    ],
)
def test_embeddings_that_cannot_be_asked_for(asked: dict[str, Any], param: str) -> None:
    """The field is named."""
    with pytest.raises(UntranslatableError) as caught:
        translated(asked, "gemini-embedding-001", Endpoint.EMBEDDINGS)
    assert caught.value.param == param


# the table is whole


def test_no_row_lacks_its_example() -> None:
    """Every cell of the table is proved above."""
    proved = {name for name, *_ in (*MAPPED, *ERRORS, *IGNORED, *IGNORED_OF_MESSAGES, *ANSWERS)}
    proved |= {"messages[role=tool].name", "response_format.json_schema.strict"}
    assert proved == set(CHAT_FIELDS)
    assert {name for name, *_ in EMBEDDINGS_MAPPED} == set(EMBEDDING_FIELDS)


@pytest.mark.parametrize(
    ("params", "rows"),
    [
        (completion_create_params.CompletionCreateParamsBase, CHAT_FIELDS),
        (completion_create_params.CompletionCreateParamsStreaming, CHAT_FIELDS),
        (embedding_create_params.EmbeddingCreateParams, EMBEDDING_FIELDS),
    ],
)
def test_every_field_of_openais_sdk_has_a_row(params: type, rows: dict[str, Field]) -> None:
    """Whatever may be asked of OpenAI is decided, not fallen through."""
    assert set(get_type_hints(params)) <= set(rows)


@pytest.mark.parametrize("row", [*CHAT_FIELDS.values(), *EMBEDDING_FIELDS.values()])
def test_every_row_has_its_sentence(row: Field) -> None:
    """For the page that is made of the table."""
    assert row.note
    assert row.name in CHAT_FIELDS or row.name in EMBEDDING_FIELDS
