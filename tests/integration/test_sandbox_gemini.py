"""The sandbox speaks Gemini's wire: to the official SDK, and to plain HTTP where the SDK would not ask so."""

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchmill.sandbox.app import Behaviour
from batchmill.sandbox.compose import THOUGHT, THOUGHT_TOKENS
from batchmill.sandbox.faults import FAULTS
from batchmill.sandbox.limits import Allowance, LimitRules
from tests.support.sandboxes import Clock, against, send, serving

genai = pytest.importorskip("google.genai")

KEY = {"x-goog-api-key": "any"}
HELLO: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
MODEL = "gemini-2.5-flash"
WEATHER = {
    "name": "weather",
    "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]},
}
TOOLS = [{"functionDeclarations": [WEATHER]}]
PIXEL = base64.b64encode(b"not really a picture").decode()


def with_sdk(
    use: Callable[[Any], Any], behaviour: Behaviour | None = None, version: str | None = None
) -> Any:
    """What `use` returns, given the official SDK pointed at a sandbox. The blocking one: the other warns where aiohttp
    is installed."""

    def run(address: str) -> Any:
        options = genai.types.HttpOptions(base_url=address, api_version=version)
        with genai.Client(api_key="any", http_options=options) as client:
            return use(client)

    return against(lambda address: asyncio.to_thread(run, address), behaviour)


def ask(model: str = MODEL, contents: Any = "hello", version: str | None = None, **config: Any) -> Any:
    """The SDK's answer."""
    return with_sdk(
        lambda client: client.models.generate_content(model=model, contents=contents, config=config or None),
        version=version,
    )


def post(body: Any, path: str = f"/v1/models/{MODEL}:generateContent", headers: Any = KEY) -> tuple[int, Any]:
    """Status and JSON of a call."""

    async def use(address: str) -> tuple[int, Any]:
        status, _, answer = await send(address + path, body, headers)
        return status, answer

    return against(use)  # type: ignore[no-any-return]


@pytest.mark.parametrize("version", [None, "v1", "v1beta"])
def test_sdk_content(version: str | None) -> None:
    """A whole answer at either version: text, reason and usage."""
    answer = ask(version=version, system_instruction="Be short.")
    assert "not a model" in answer.text
    assert answer.candidates[0].finish_reason == "STOP"
    assert answer.candidates[0].content.role == "model"
    usage = answer.usage_metadata
    assert (usage.prompt_token_count, usage.thoughts_token_count) == (3, None)
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    assert answer.model_version == MODEL
    assert answer.response_id.startswith("req_")


def test_sdk_candidates() -> None:
    """As many as asked for, numbered, each counted."""
    one, three = ask(), ask(candidate_count=3)
    assert [candidate.index for candidate in three.candidates] == [0, 1, 2]
    assert three.usage_metadata.candidates_token_count == 3 * one.usage_metadata.candidates_token_count


def test_sdk_embeddings() -> None:
    """The same text gets the same unit vector, of the size asked for."""
    answer = with_sdk(
        lambda client: client.models.embed_content(
            model="gemini-embedding-001", contents=["a", "b", "a"], config={"output_dimensionality": 32}
        )
    )
    first, second, third = (embedding.values for embedding in answer.embeddings)
    assert len(first) == 32
    assert first == third != second
    assert sum(x * x for x in first) == pytest.approx(1.0, abs=1e-5)


def test_embed_one() -> None:
    """`embedContent` answers with one embedding, of 3,072 numbers unless told otherwise."""
    body = {"model": "models/e", "content": {"parts": [{"text": "a"}]}, "taskType": "CLUSTERING"}
    status, answer = post(body, "/v1beta/models/e:embedContent")
    assert (status, len(answer["embedding"]["values"])) == (200, 3072)
    assert answer["usageMetadata"] == {"promptTokenCount": 1}


def test_sdk_counts_tokens() -> None:
    """As many as the prompt has words; free."""
    counted = with_sdk(lambda client: client.models.count_tokens(model=MODEL, contents="one two three"))
    assert counted.total_tokens == 3


def test_sdk_models() -> None:
    """The list names models and faults."""
    named = with_sdk(lambda client: {model.name for model in client.models.list()}, version="v1beta")
    assert {f"models/{MODEL}", "models/sandbox/429"} <= named


def test_cut_answer_names_its_limit() -> None:
    """As many tokens as were allowed, and MAX_TOKENS for a reason."""
    answer = ask(max_output_tokens=3)
    assert answer.candidates[0].finish_reason == "MAX_TOKENS"
    assert answer.usage_metadata.candidates_token_count == 3


def test_function_is_called_where_the_prompt_says_so() -> None:
    """A functionCall part with arguments of the schema, and text once its response is there."""
    config = {
        "tools": [{"function_declarations": [WEATHER]}],
        "automatic_function_calling": {"disable": True},
    }
    called = ask(contents="please call_tool", **config)
    (call,) = called.function_calls
    assert (call.name, call.args) == ("weather", {"city": "not a model"})
    assert called.candidates[0].finish_reason == "STOP"
    response = {"function_response": {"id": call.id, "name": "weather", "response": {"result": "sunny"}}}
    contents = [
        {"role": "user", "parts": [{"text": "please call_tool"}]},
        called.candidates[0].content,
        {"role": "user", "parts": [response]},
    ]
    assert "not a model" in ask(contents=contents, **config).text


@pytest.mark.parametrize(("mode", "calls"), [("AUTO", False), ("ANY", True), ("NONE", False)])
def test_calling_mode(mode: str, calls: bool) -> None:
    """ANY calls a function, whatever the prompt says."""
    body = HELLO | {"tools": TOOLS, "toolConfig": {"functionCallingConfig": {"mode": mode}}}
    (part,) = post(body)[1]["candidates"][0]["content"]["parts"]
    assert ("functionCall" in part) is calls


@pytest.mark.parametrize("field", ["responseSchema", "responseJsonSchema"])
def test_structured_output_is_of_its_schema(field: str) -> None:
    """The text is JSON of the schema, in either dialect."""
    schema = {"type": "object", "properties": {"days": {"type": "array", "items": {"type": "integer"}}}}
    config = {"responseMimeType": "application/json", field: schema}
    (part,) = post(HELLO | {"generationConfig": config})[1]["candidates"][0]["content"]["parts"]
    assert json.loads(part["text"]) == {"days": [0]}


def test_json_without_a_schema() -> None:
    """An object with the answer in it."""
    assert "not a model" in json.loads(ask(response_mime_type="application/json").text)["answer"]


def test_thoughts_are_counted_apart() -> None:
    """Beside the candidates' tokens, in the total; shown where asked for."""
    plain, thought = (
        ask().usage_metadata,
        ask(thinking_config={"thinking_budget": 512, "include_thoughts": True}),
    )
    usage = thought.usage_metadata
    assert (usage.thoughts_token_count, usage.candidates_token_count) == (
        THOUGHT_TOKENS,
        plain.candidates_token_count,
    )
    assert usage.total_token_count == plain.total_token_count + THOUGHT_TOKENS
    assert [(part.thought, part.text == THOUGHT) for part in thought.candidates[0].content.parts] == [
        (True, True),
        (None, False),
    ]


def test_blocked_prompt_has_no_candidates() -> None:
    """The feedback says why; nothing was said, and only the prompt is charged for."""
    answer = ask("sandbox/refusal")
    assert (answer.candidates, answer.prompt_feedback.block_reason) == (None, "PROHIBITED_CONTENT")
    assert answer.usage_metadata.candidates_token_count is None


def test_filtered_candidate_has_no_content() -> None:
    """SAFETY, and the rating that did it."""
    (candidate,) = ask("sandbox/filtered").candidates
    assert (candidate.content, candidate.finish_reason) == (None, "SAFETY")
    assert candidate.safety_ratings[0].blocked


def test_empty_candidate_has_no_parts() -> None:
    """STOP, and a content without parts."""
    (candidate,) = ask("sandbox/empty").candidates
    assert (candidate.content.parts, candidate.finish_reason) == (None, "STOP")


def test_cached_tokens_are_part_of_the_prompt() -> None:
    """Half of it, told beside the whole."""
    usage = ask("sandbox/cached", "one two three four five").usage_metadata
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (5, 2)


@pytest.mark.parametrize(
    ("model", "error", "status"),
    [
        ("sandbox/400", "ClientError", "INVALID_ARGUMENT"),
        ("sandbox/401", "ClientError", "UNAUTHENTICATED"),
        ("sandbox/403", "ClientError", "PERMISSION_DENIED"),
        ("sandbox/404", "ClientError", "NOT_FOUND"),
        ("sandbox/429", "ClientError", "RESOURCE_EXHAUSTED"),
        ("sandbox/too-large", "ClientError", "INVALID_ARGUMENT"),
        ("sandbox/500", "ServerError", "INTERNAL"),
        ("sandbox/503", "ServerError", "UNAVAILABLE"),
        ("sandbox/504", "ServerError", "DEADLINE_EXCEEDED"),
    ],
)
def test_sdk_raises_its_own_errors(model: str, error: str, status: str) -> None:
    """A fault, its model named in the address with its slash, becomes the SDK's error."""
    with pytest.raises(getattr(genai.errors, error)) as caught:
        ask(model)
    assert caught.value.status == status  # type: ignore[attr-defined]


def test_wait_is_in_the_details() -> None:
    """RetryInfo tells it, beside which quota it is."""
    _, answer = post(HELLO, "/v1/models/sandbox/429:generateContent")
    details = {detail["@type"].rpartition(".")[2]: detail for detail in answer["error"]["details"]}
    assert set(details) == {"QuotaFailure", "RetryInfo"}
    assert details["RetryInfo"]["retryDelay"] == "0.2s"


def test_an_empty_account_names_no_wait() -> None:
    """No waiting helps: 429 as for a quota, and only the words tell."""
    status, answer = post(HELLO, "/v1/models/sandbox/quota:generateContent")
    assert (status, answer["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert "credits are depleted" in answer["error"]["message"]
    assert "details" not in answer["error"]


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.spoil is None])
def test_every_error_has_geminis_shape(name: str) -> None:
    """Code, message and status, at the status that the fault is named for; the slash may be encoded."""
    status, answer = post(HELLO, f"/v1beta/models/sandbox%2F{name}:generateContent")
    assert {"code", "message", "status"} <= set(answer["error"])
    if name.isdecimal():
        assert (status, answer["error"]["code"]) == (int(name), int(name))


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [({}, "", 403), (KEY, "", 200), ({}, "?key=any", 200), ({"authorization": "Bearer any"}, "", 200)],
)
def test_key_is_required(headers: dict[str, str], query: str, status: int) -> None:
    """In a header or in the address."""
    got, answer = post(HELLO, f"/v1/models/{MODEL}:generateContent{query}", headers)
    assert got == status
    if status == 403:
        assert answer["error"]["status"] == "PERMISSION_DENIED"


def config(**fields: Any) -> dict[str, Any]:
    return {"generationConfig": fields}


def user(*parts: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(parts)}]}


CALL = {"functionCall": {"name": "weather", "args": {}}}
RESPONSE = {"functionResponse": {"name": "weather", "response": {}}}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"foo": 1}, 'Invalid JSON payload received. Unknown name "foo": Cannot find field.'),
        (config(max_tokens=1), "Unknown name \"max_tokens\" at 'generation_config': Cannot find field."),
        ({"messages": []}, 'Unknown name "messages"'),
        ({"contents": []}, "contents is not specified"),
        (
            {"contents": [{"role": "assistant", "parts": [{"text": "a"}]}]},
            "Please use a valid role: user, model.",
        ),
        (
            {"contents": [{"role": "user", "parts": []}]},
            "contents[0].parts: contents.parts must not be empty",
        ),
        ({"contents": [{"role": "user", "content": "a"}]}, "Unknown name \"content\" at 'contents[0]'"),
        (user({}), "required oneof field 'data'"),
        (user({"text": "a", "inlineData": {}}), "oneof field 'data' is already set"),
        (user({"type": "text", "text": "a"}), "Unknown name \"type\" at 'contents[0].parts[0]'"),
        (user({"inlineData": {"mimeType": "image/png", "data": "?"}}), "Base64 decoding failed"),
        (user({"inlineData": {"data": PIXEL}}), "mimeType: must be set"),
        (user(RESPONSE), "immediately after a function call turn"),
        (
            {
                "contents": [
                    HELLO["contents"][0],
                    {"role": "model", "parts": [CALL, CALL]},
                    user(RESPONSE)["contents"][0],
                ]
            },
            "number of function response parts is equal",
        ),
        (config(temperature=3), "temperature: must be in the range"),
        (config(temperature="hot"), "Invalid value at 'generation_config.temperature' (TYPE_FLOAT)"),
        (config(maxOutputTokens=0), "max_output_tokens: must be in the range"),
        (config(candidateCount=9), "candidate_count: must be in the range"),
        (config(stopSequences=["a"] * 6), "stop_sequences"),
        (config(responseSchema={"type": "object"}), "response mime type: 'text/plain' is unsupported"),
        (config(responseMimeType="text/html"), "allowed mimetypes"),
        (
            config(responseMimeType="application/json", responseSchema={"type": ["string", "null"]}),
            "Proto field is not repeating",
        ),
        (
            config(responseMimeType="application/json", responseSchema={"$ref": "#/$defs/a"}),
            "Unknown name \"$ref\" at 'generation_config.response_schema'",
        ),
        (config(logprobs=2), "response_logprobs"),
        (config(thinkingConfig={"thinkingBudget": 1, "thinkingLevel": "LOW"}), "only one of thinking budget"),
        (config(thinkingConfig={"thinkingLevel": "HUGE"}), "ThinkingLevel"),
        ({"tools": [{"functionDeclarations": [{"name": "1x"}]}]}, "Invalid function name"),
        ({"tools": [{"function": WEATHER}]}, "Unknown name \"function\" at 'tools[0]'"),
        ({"tools": [*TOOLS, *TOOLS]}, "Duplicate function declaration"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "MUST"}}}, "FunctionCallingConfig.Mode"),
        ({"safetySettings": [{"category": "RUDE", "threshold": "OFF"}]}, "HarmCategory"),
    ],
)
def test_faulty_requests_are_refused_in_geminis_words(more: dict[str, Any], said: str) -> None:
    """A 400 INVALID_ARGUMENT that names the field."""
    status, answer = post(HELLO | more)
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert said in answer["error"]["message"]


def test_enumerations_by_number() -> None:
    """Types and modes as the older of Google's packages sends them."""
    schema = {"type": 6, "properties": {"at": {"type": 5, "items": {"type": 2}}}}
    declared = {"functionDeclarations": [{"name": "look", "parameters": schema}]}
    calling = {"functionCallingConfig": {"mode": 2}}
    _, answer = post(HELLO | {"tools": [declared], "toolConfig": calling})
    [part] = answer["candidates"][0]["content"]["parts"]
    assert part["functionCall"]["args"] == {"at": [0]}


def test_names_in_either_spelling() -> None:
    """Google's servers read snake case as well."""
    body = HELLO | {"system_instruction": {"parts": [{"text": "Be short."}]}}
    assert post(body | {"generation_config": {"max_output_tokens": 2}})[1]["usageMetadata"] == {
        "promptTokenCount": 3,
        "candidatesTokenCount": 2,
        "totalTokenCount": 5,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 3}],
    }


def test_every_kind_of_part_is_read() -> None:
    """Pictures, files, thoughts, calls and responses; the last text of the user is the prompt."""
    contents = [
        {
            "role": "user",
            "parts": [
                {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
                {"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.com/a.pdf"}},
                {"text": "look"},
            ],
        },
        {"role": "model", "parts": [{"text": "hm", "thought": True}, CALL]},
        {"role": "user", "parts": [RESPONSE, {"text": "and now?"}]},
    ]
    status, answer = post({"contents": contents})
    assert status == 200
    assert '"and now?"' in answer["candidates"][0]["content"]["parts"][0]["text"]


def test_embedded_models_must_agree() -> None:
    """A batch of embeddings is of one model, the one in the address."""
    request = {"model": "models/other", "content": {"parts": [{"text": "a"}]}}
    status, answer = post({"requests": [request]}, "/v1beta/models/e:batchEmbedContents")
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_wrong_address() -> None:
    """Told in Gemini's shape to a caller who speaks it."""
    status, answer = post(HELLO, f"/v1beta/models/{MODEL}:think")
    assert (status, answer["error"]["status"]) == (404, "NOT_FOUND")


def test_limits_on_the_wire() -> None:
    """The prompt's tokens count, the wait is in the details, and whoever waits so long gets in."""
    clock = Clock()
    rules = LimitRules(rpm=Allowance(of_all=50), tpm=Allowance(of_all=2))

    async def run() -> tuple[list[int], Any, int]:
        async with serving(Behaviour(limits=rules), clock=clock) as address:
            url = f"{address}/v1/models/{MODEL}:generateContent"
            seen = [(await send(url, HELLO, KEY))[0] for _ in range(2)]
            _, _, refused = await send(url, HELLO, KEY)
            delay = refused["error"]["details"][1]["retryDelay"]
            clock.ns += int(float(delay.removesuffix("s")) * 1e9)
            return seen, refused, (await send(url, HELLO, KEY))[0]

    seen, refused, again = asyncio.run(run())
    assert (seen, refused["error"]["status"], again) == ([200, 200], "RESOURCE_EXHAUSTED", 200)
    assert refused["error"]["details"][0]["violations"][0]["quotaValue"] == "2"


def test_log_and_bill_know_the_wire(tmp_path: Path) -> None:
    """The call's line names wire, method and cost; thoughts are charged for as output."""
    log = tmp_path / "calls.jsonl"
    body = HELLO | config(thinkingConfig={"thinkingLevel": "LOW"})

    async def use(address: str) -> Any:
        return (await send(f"{address}/v1/models/{MODEL}:generateContent", body, KEY))[2]

    usage = against(use, log=log)["usageMetadata"]
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (line["wire"], line["endpoint"], line["model"]) == ("gemini", "generateContent", MODEL)
    assert line["output_tokens"] == usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    assert line["cost_nanos"] == usage["promptTokenCount"] * 300 + line["output_tokens"] * 2500
