"""The sandbox speaks Anthropic's wire: to the official SDK, and to plain HTTP where the SDK would not ask so."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from batchmill.sandbox.app import Behaviour
from batchmill.sandbox.compose import REFUSAL, THOUGHT_TOKENS
from batchmill.sandbox.faults import FAULTS
from batchmill.sandbox.limits import Allowance, LimitRules
from batchmill.sandbox.windows import NANOS_PER_S
from tests.support.sandboxes import Clock, against, send, serving

anthropic = pytest.importorskip("anthropic")

OLD = {"x-api-key": "any", "anthropic-version": "2023-06-01"}
NEW = {"authorization": "Bearer any", "anthropic-version": "2026-10-21"}
HELLO: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
}
WEATHER = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PIXEL = base64.b64encode(b"not really a picture").decode()


def with_sdk(use: Callable[[Any], Awaitable[Any]], behaviour: Behaviour | None = None) -> Any:
    """What `use` returns, given the official SDK pointed at a sandbox."""

    async def run(address: str) -> Any:
        async with anthropic.AsyncAnthropic(
            base_url=address, api_key="any", max_retries=0, timeout=5
        ) as client:
            return await use(client)

    return against(run, behaviour)


def ask(behaviour: Behaviour | None = None, **more: Any) -> Any:
    """The SDK's message to `HELLO` with these fields."""
    return with_sdk(lambda client: client.messages.create(**(HELLO | more)), behaviour)


def post(body: Any, headers: dict[str, str] = OLD) -> tuple[int, Any]:
    """Status and JSON of a call of `/v1/messages`."""

    async def use(address: str) -> tuple[int, Any]:
        status, _, answer = await send(f"{address}/v1/messages", body, headers)
        return status, answer

    return against(use)  # type: ignore[no-any-return]


def test_sdk_message() -> None:
    """A whole answer: text, reason, usage and the id of the request."""
    message = ask(system="Be short.")
    assert (message.type, message.role, message.model) == ("message", "assistant", "claude-haiku-4-5")
    assert message.id.startswith("msg_")
    assert "not a model" in message.content[0].text
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.input_tokens == 3
    assert message.usage.output_tokens > 0
    assert message.usage.cache_creation.ephemeral_5m_input_tokens == 0
    assert message.usage.service_tier == "standard"
    assert message._request_id.startswith("req_")


def test_sdk_models() -> None:
    """The list is Anthropic's to a caller who speaks its version, OpenAI's to others."""

    async def use(address: str) -> tuple[Any, Any]:
        url = f"{address}/v1/models"
        return (await send(url, headers=OLD, method="GET"))[2], (await send(url, method="GET"))[2]

    ours = with_sdk(lambda client: client.models.list())
    assert {"claude-haiku-4-5", "sandbox/529"} <= {model.id for model in ours.data}
    anthropics, openais = against(use)
    assert anthropics["data"][0]["type"] == "model"
    assert openais["data"][0]["object"] == "model"


def test_cut_answer_names_its_limit() -> None:
    """As many output tokens as were allowed, and `max_tokens` for a reason."""
    message = ask(max_tokens=3)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 3)


def test_stop_sequence_is_named_and_left_out() -> None:
    """The text ends before it."""
    message = ask(stop_sequences=["never there", " sandbox"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " sandbox")
    assert message.content[0].text == "This is the batchmill"


def test_tool_is_called_where_the_prompt_says_so() -> None:
    """A tool_use block with an input of the schema, and the text that was asked for once its result is there."""
    messages: list[Any] = [{"role": "user", "content": "please call_tool"}]
    called = ask(tools=[WEATHER], messages=messages)
    assert called.stop_reason == "tool_use"
    (block,) = called.content
    assert (block.type, block.name, block.input) == ("tool_use", "weather", {"city": "not a model"})
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
    messages += [
        {"role": "assistant", "content": [block.model_dump(exclude_none=True)]},
        {"role": "user", "content": [result]},
    ]
    assert ask(tools=[WEATHER], messages=messages).stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("choice", "calls"),
    [
        ({"type": "auto"}, False),
        ({"type": "any"}, True),
        ({"type": "tool", "name": "weather"}, True),
        ({"type": "none"}, False),
    ],
)
def test_tool_choice(choice: dict[str, str], calls: bool) -> None:
    """A tool that must be called is called, whatever the prompt says."""
    assert (ask(tools=[WEATHER], tool_choice=choice).stop_reason == "tool_use") is calls


def test_structured_output_is_of_its_schema() -> None:
    """The text is JSON as `output_config.format` wants it."""
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": {"type": "integer", "minimum": 2}},
        "required": ["city", "days"],
        "additionalProperties": False,
    }
    message = ask(output_config={"format": {"type": "json_schema", "schema": schema}})
    assert json.loads(message.content[0].text) == {"city": "Paris", "days": 2}


def test_thinking_is_counted_as_output() -> None:
    """A thinking block first; its tokens are in `output_tokens`."""
    plain, thought = ask(), ask(max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024})
    assert [block.type for block in thought.content] == ["thinking", "text"]
    assert thought.usage.output_tokens == plain.usage.output_tokens + THOUGHT_TOKENS
    assert thought.usage.output_tokens_details.thinking_tokens == THOUGHT_TOKENS


def test_refusal() -> None:
    """A refusal is an answer, with its reason beside it."""
    message = ask(model="sandbox/refusal")
    assert (message.stop_reason, message.content) == ("refusal", [])
    assert message.stop_details.explanation == REFUSAL


def test_filtered_answer_is_an_error() -> None:
    """What is withheld is a 400, and free."""
    with pytest.raises(anthropic.BadRequestError, match="content filtering policy"):
        ask(model="sandbox/filtered")


def test_empty_answer() -> None:
    """No block at all, and an ordinary end."""
    message = ask(model="sandbox/empty")
    assert (message.content, message.stop_reason) == ([], "end_turn")


def test_cached_input_is_left_out_of_input() -> None:
    """Half of the prompt is told as read from the cache."""
    usage = ask(
        model="sandbox/cached", messages=[{"role": "user", "content": "one two three four five"}]
    ).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens) == (3, 2)


@pytest.mark.parametrize(
    ("model", "error", "kind"),
    [
        ("sandbox/400", anthropic.BadRequestError, "invalid_request_error"),
        ("sandbox/401", anthropic.AuthenticationError, "authentication_error"),
        ("sandbox/402", anthropic.APIStatusError, "billing_error"),
        ("sandbox/403", anthropic.PermissionDeniedError, "permission_error"),
        ("sandbox/404", anthropic.NotFoundError, "not_found_error"),
        ("sandbox/too-large", anthropic.ContentTooLargeError, "request_too_large"),
        ("sandbox/429", anthropic.RateLimitError, "rate_limit_error"),
        ("sandbox/500", anthropic.InternalServerError, "api_error"),
        ("sandbox/504", anthropic.GatewayTimeoutError, "timeout_error"),
        ("sandbox/529", anthropic.OverloadedError, "overloaded_error"),
    ],
)
def test_sdk_raises_its_own_errors(model: str, error: type[Exception], kind: str) -> None:
    """A fault becomes the SDK's typed error, with its type and the request's id in it."""
    with pytest.raises(error) as caught:
        ask(model=model)
    assert caught.value.type == kind  # type: ignore[attr-defined]
    assert caught.value.request_id == caught.value.body["request_id"]  # type: ignore[attr-defined]


def test_spend_limit_is_told_by_its_code() -> None:
    """A 429 that no waiting cures says so in its details, and names no wait."""
    with pytest.raises(anthropic.RateLimitError) as caught:
        ask(model="sandbox/quota")
    assert caught.value.error_code == "enforced_spend_limit_reached"
    assert "retry-after" not in caught.value.response.headers


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.spoil is None])
def test_every_error_has_anthropics_shape(name: str) -> None:
    """`type`, `error` and the request's id, at the status that the fault is named for."""
    status, answer = post(HELLO | {"model": f"sandbox/{name}"})
    assert set(answer) == {"type", "error", "request_id"}
    assert {"type", "message"} <= set(answer["error"])
    if name.isdecimal():
        assert status == int(name)


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ({"anthropic-version": "2023-06-01"}, 401, "x-api-key header is required"),
        ({"x-api-key": "any"}, 400, "anthropic-version: header is required"),
        ({"x-api-key": "any", "anthropic-version": "1999"}, 400, "not a valid version"),
        (NEW, 200, ""),
        (OLD, 200, ""),
    ],
)
def test_key_and_version_are_required(headers: dict[str, str], status: int, said: str) -> None:
    """Either header carries the key; a version has to be named."""
    got, answer = post(HELLO, headers)
    assert (got, said in answer.get("error", {}).get("message", "")) == (status, True)


SAMPLING = ("temperature", "top_p", "top_k")


@pytest.mark.parametrize("name", SAMPLING)
def test_new_version_takes_no_sampling(name: str) -> None:
    """What the old version takes, the new one refuses, the default included."""
    body = HELLO | {name: 1}
    assert post(body, OLD)[0] == 200
    status, answer = post(body, NEW)
    assert (status, answer["error"]["message"]) == (400, f"{name}: Extra inputs are not permitted")


def user(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"foo": 1}, "foo: Extra inputs are not permitted"),
        ({"response_format": {}}, "response_format: Extra inputs are not permitted"),
        ({"max_tokens": None}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater than or equal to 0"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, 'first message must use the "user" role'),
        ({"messages": [{"role": "system", "content": "hi"}]}, "messages.0.role: Input should be"),
        ({"messages": [{"role": "user", "content": ""}]}, "must have non-empty content"),
        ({"messages": [{"role": "user", "content": "x", "name": "n"}]}, "messages.0.name: Extra inputs"),
        (user({"type": "text", "text": ""}), "text content blocks must be non-empty"),
        (user({"type": "image_url", "image_url": {}}), "Input tag 'image_url' found"),
        (
            user({"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": PIXEL}}),
            "messages.0.content.0.image.source.base64.media_type",
        ),
        (
            user({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}}),
            "messages.0.content.0.image.source.base64.data",
        ),
        (user(RESULT), "unexpected `tool_use_id` found"),
        (
            {"messages": [*HELLO["messages"], {"role": "assistant", "content": [USE]}]},
            "without `tool_result`",
        ),
        (user(USE), "`tool_use` blocks can only be in `assistant` messages"),
        ({"system": [{"type": "image"}]}, "system.0.type: Input should be 'text'"),
        ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, "tools.0.custom.name"),
        ({"tools": [{"name": "a"}]}, "tools.0.custom.input_schema: Field required"),
        ({"tools": [{"name": "a", "input_schema": {}}]}, "tools.0.custom.input_schema.type"),
        ({"tools": [{"type": "function", "function": {"name": "a"}}]}, "tools.0: Input tag 'function' found"),
        ({"tools": [WEATHER, WEATHER]}, "Tool names must be unique."),
        ({"tool_choice": {"type": "auto"}}, "may only be specified while providing tools"),
        ({"tools": [WEATHER], "tool_choice": "auto"}, "tool_choice: Input should be an object"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "not found in provided tools"),
        ({"stop_sequences": "x"}, "stop_sequences: Input should be a valid list"),
        ({"stop_sequences": [" "]}, "each stop sequence must contain non-whitespace"),
        ({"temperature": 1.5}, "temperature: Input should be less than or equal to 1"),
        ({"metadata": {"team": "a"}}, "metadata.team: Extra inputs are not permitted"),
        ({"service_tier": "flex"}, "service_tier: Input should be"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10}}, "thinking.enabled.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "`max_tokens` must be greater than"),
        ({"thinking": {"type": "adaptive"}, "temperature": 0.5}, "may only be set to 1 when thinking"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format.type"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            "'additionalProperties' must be explicitly set to false",
        ),
        ({"stream": True}, "does not stream"),
    ],
)
def test_faulty_requests_are_refused_in_anthropics_words(more: dict[str, Any], said: str) -> None:
    """A 400 that names the field."""
    status, answer = post(HELLO | more)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert said in answer["error"]["message"]


@pytest.mark.parametrize("name", ["model", "messages", "max_tokens"])
def test_missing_fields_are_named(name: str) -> None:
    """Three fields are required."""
    status, answer = post({key: value for key, value in HELLO.items() if key != name})
    assert (status, answer["error"]["message"]) == (400, f"{name}: Field required")


def test_every_kind_of_block_is_read() -> None:
    """Pictures, documents, thoughts, calls and results; the last text of the user is the prompt."""
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}},
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, USE],
        },
        {"role": "user", "content": [RESULT, {"type": "text", "text": "and now?"}]},
    ]
    message = ask(
        messages=messages, metadata={"user_id": "u"}, system=[{"type": "text", "text": "Be short."}]
    )
    assert '"and now?"' in message.content[0].text


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("POST", "/v1/nothing", 404, "not_found_error"),
        ("POST", "/v1/models", 405, "invalid_request_error"),
    ],
)
def test_wrong_address(method: str, path: str, status: int, kind: str) -> None:
    """Told in Anthropic's shape to a caller who speaks it."""
    got, _, answer = against(lambda address: send(address + path, b"{}", OLD, method))
    assert (got, answer["error"]["type"]) == (status, kind)


def test_limits_on_the_wire() -> None:
    """Input and output apart, output by what was answered; whoever waits as told gets in."""
    clock = Clock()
    rules = LimitRules(
        rpm=Allowance(of_all=50),
        itpm=Allowance(of_all=10),
        otpm=Allowance(of_all=40),
        tpm=Allowance(of_all=500),
    )

    async def run() -> tuple[list[Any], Any, Any]:
        async with serving(Behaviour(limits=rules), clock=clock) as address:
            url = f"{address}/v1/messages"
            answers = [await send(url, HELLO, OLD) for _ in range(3)]
            clock.ns += int(answers[-1][1]["retry-after"]) * NANOS_PER_S
            again = await send(url, HELLO, OLD)
            return answers, again, (await send(f"{address}/sandbox/bill", method="GET"))[2]

    answers, again, bill = asyncio.run(run())
    assert [status for status, _, _ in answers] == [200, 200, 429]
    output = answers[0][2]["usage"]["output_tokens"]
    first, refused = answers[0][1], answers[2][1]
    assert first["anthropic-ratelimit-requests-remaining"] == "49"
    assert first["anthropic-ratelimit-input-tokens-remaining"] == "9"
    assert first["anthropic-ratelimit-output-tokens-remaining"] == str(40 - output)
    assert first["anthropic-ratelimit-tokens-remaining"] == str(500 - 1 - output)
    assert datetime.fromisoformat(first["anthropic-ratelimit-tokens-reset"]).tzinfo is not None
    assert refused["anthropic-ratelimit-output-tokens-remaining"] == "0"
    assert "output tokens per minute" in answers[2][2]["error"]["message"]
    assert again[0] == 200
    assert bill["limits"]["claude-haiku-4-5"]["output-tokens"]["refused"] == 1


def test_log_and_bill_know_the_wire(tmp_path: Path) -> None:
    """The call's line names wire, endpoint and cost; thinking is charged for as the usage tells it."""
    log = tmp_path / "calls.jsonl"
    body = HELLO | {"max_tokens": 2000, "thinking": {"type": "adaptive"}}
    headers = OLD | {"X-Client-Request-Id": "r1/1"}

    async def use(address: str) -> Any:
        return (await send(f"{address}/v1/messages", body, headers))[2]

    usage = against(use, log=log)["usage"]
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (line["wire"], line["endpoint"], line["client_request_id"]) == (
        "anthropic",
        "/v1/messages",
        "r1/1",
    )
    assert line["output_tokens"] == usage["output_tokens"]
    assert line["cost_nanos"] == usage["input_tokens"] * 1000 + usage["output_tokens"] * 5000
