"""The sandbox on a real socket: raw HTTP, the official SDK, and the command itself."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import ConflictError, InputError
from batchmill.sandbox.app import Behaviour, Sandbox
from batchmill.sandbox.bill import Tokens, price
from batchmill.sandbox.compose import count_input_tokens, count_tokens
from batchmill.sandbox.faults import FAULTS, SAME_AS
from batchmill.sandbox.files import CallLog, load_replies
from batchmill.sandbox.server import Server
from batchmill.tokens.count import count_text
from cli.main import batchmill

ROOT = Path(__file__).parents[2]
HELLO = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}


@contextlib.asynccontextmanager
async def serving(behaviour: Behaviour | None = None, log: Path | None = None) -> AsyncIterator[str]:
    """A sandbox on a free port; gives its base URL."""
    call_log = CallLog(log) if log else None
    server = Server(Sandbox(behaviour or Behaviour(), call_log))
    try:
        yield await server.start()
    finally:
        await server.stop(grace_s=0.0)
        if call_log:
            call_log.close()


def with_sdk(use: Callable[[openai.AsyncOpenAI], Awaitable[Any]], behaviour: Behaviour | None = None) -> Any:
    """What `use` returns, given the official SDK pointed at a sandbox."""

    async def run() -> Any:
        async with (
            serving(behaviour) as base_url,
            openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=5) as client,
        ):
            return await use(client)

    return asyncio.run(run())


def asking(
    method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, Any]:
    """Status, headers and JSON of one raw request."""

    async def run() -> tuple[int, Any, Any]:
        async with serving() as base_url, aiohttp.ClientSession() as session:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            url = base_url.removesuffix("/v1") + path
            async with session.request(method, url, data=data, headers=headers) as response:
                return response.status, response.headers.copy(), await response.json()

    return asyncio.run(run())


async def post(base_url: str, body: dict[str, Any], client_request_id: str = "") -> tuple[int, bytes]:
    """Status and body of one chat call."""
    headers = {"X-Client-Request-Id": client_request_id}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{base_url}/chat/completions", json=body, headers=headers) as response,
    ):
        return response.status, await response.read()


def test_sdk_chat() -> None:
    """The official SDK reads a chat answer, its usage and its label."""
    answer = with_sdk(lambda c: c.chat.completions.create(model="gpt-4o-mini", messages=HELLO["messages"]))
    assert "not a model" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 1
    assert answer.usage.total_tokens == 1 + answer.usage.completion_tokens
    assert answer.sandbox == "not a model"
    assert answer._request_id.startswith("req_")


def test_sdk_logprobs() -> None:
    """Every token of the text, and as many in its place as are asked for."""
    answer = with_sdk(
        lambda c: c.chat.completions.create(
            model="m", messages=HELLO["messages"], logprobs=True, top_logprobs=2
        )
    )
    [choice] = answer.choices
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content
    assert {len(token.top_logprobs) for token in choice.logprobs.content} == {2}


def test_sdk_responses() -> None:
    """The official SDK reads a response and its text."""
    answer = with_sdk(lambda c: c.responses.create(model="gpt-4o-mini", input="hello"))
    assert "not a model" in answer.output_text
    assert answer.status == "completed"
    assert answer.usage.input_tokens_details.cached_tokens == 0


def test_sdk_response_cut_by_its_limit() -> None:
    """A response out of tokens is incomplete and says why."""
    answer = with_sdk(lambda c: c.responses.create(model="gpt-4o-mini", input="hello", max_output_tokens=16))
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.usage.output_tokens == 16


def test_sdk_embeddings() -> None:
    """The SDK, which asks for base64, gets unit vectors, the same for the same text."""
    answer = with_sdk(
        lambda c: c.embeddings.create(model="text-embedding-3-small", input=["a", "b", "a"], dimensions=32)
    )
    first, second, third = (entry.embedding for entry in answer.data)
    assert len(first) == 32
    assert first == third != second
    assert sum(x * x for x in first) == pytest.approx(1.0, abs=1e-5)


def test_sdk_completions() -> None:
    """Several prompts get a choice each."""
    answer = with_sdk(lambda c: c.completions.create(model="gpt-3.5-turbo-instruct", prompt=["a", "b"]))
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert "not a model" in answer.choices[1].text


def test_sdk_moderations() -> None:
    """Nothing is flagged, one result a text."""
    answer = with_sdk(lambda c: c.moderations.create(input=["a", "b"]))
    assert [result.flagged for result in answer.results] == [False, False]
    assert answer.results[0].categories.self_harm is False


def test_sdk_models() -> None:
    """The list names priced models and the faults."""
    models = with_sdk(lambda c: c.models.list())
    assert {"gpt-4o-mini", "sandbox/429"} <= {model.id for model in models.data}


def test_openrouters_word_on_a_key() -> None:
    """Who calls the sandbox as OpenRouter is told that the key is known."""

    async def run() -> tuple[int, Any]:
        async with (
            serving() as base_url,
            aiohttp.ClientSession() as session,
            session.get(f"{base_url}/key") as response,
        ):
            return response.status, await response.json()

    status, answer = asyncio.run(run())
    assert (status, answer["data"]["label"]) == (200, "sandbox")


@pytest.mark.parametrize(
    ("model", "error", "code"),
    [
        ("sandbox/400", openai.BadRequestError, None),
        ("sandbox/401", openai.AuthenticationError, "invalid_api_key"),
        ("sandbox/403", openai.PermissionDeniedError, None),
        ("sandbox/404", openai.NotFoundError, "model_not_found"),
        ("sandbox/409", openai.ConflictError, None),
        ("sandbox/422", openai.UnprocessableEntityError, None),
        ("sandbox/429", openai.RateLimitError, "rate_limit_exceeded"),
        ("sandbox/quota", openai.RateLimitError, "insufficient_quota"),
        ("sandbox/too-large", openai.RateLimitError, "rate_limit_exceeded"),
        ("sandbox/500", openai.InternalServerError, None),
        ("sandbox/503", openai.InternalServerError, "slow_down"),
    ],
)
def test_sdk_raises_its_own_errors(model: str, error: type[openai.APIStatusError], code: str | None) -> None:
    """A fault becomes the SDK's typed error, with code and request id in it."""
    with pytest.raises(error) as caught:
        with_sdk(lambda c: c.chat.completions.create(model=model, messages=HELLO["messages"]))
    assert caught.value.code == code
    assert (caught.value.request_id or "").startswith("req_")


def test_sdk_meets_a_reset() -> None:
    """A torn connection is a connection error."""
    with pytest.raises(openai.APIConnectionError):
        with_sdk(lambda c: c.chat.completions.create(model="sandbox/reset", messages=HELLO["messages"]))


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/chat/completions", b"{nope", 400, None),
        ("POST", "/v1/chat/completions", b"[1]", 400, None),
        ("POST", "/v1/chat/completions", {"messages": [{"role": "user"}]}, 400, "missing_required_parameter"),
        ("POST", "/v1/chat/completions", {"model": "m"}, 400, "missing_required_parameter"),
        ("POST", "/v1/chat/completions", {"model": "m", "messages": "hello"}, 400, "invalid_type"),
        ("POST", "/v1/embeddings", {"model": "m", "input": "a", "stream": True}, 400, "unknown_parameter"),
        ("POST", "/v1/chat/completions", HELLO | {"n": 0}, 400, "invalid_value"),
        ("POST", "/v1/chat/completions", HELLO | {"max_tokens": "5"}, 400, "invalid_value"),
        ("POST", "/v1/chat/completions", HELLO | {"top_logprobs": 2}, 400, "invalid_value"),
        (
            "POST",
            "/v1/chat/completions",
            HELLO | {"logprobs": True, "top_logprobs": 21},
            400,
            "invalid_value",
        ),
        ("POST", "/v1/embeddings", {"model": "m", "input": "x", "dimensions": -1}, 400, "invalid_value"),
        ("POST", "/v1/nothing", {}, 404, "unknown_url"),
        ("GET", "/v1/chat/completions", {}, 405, "method_not_supported"),
        ("POST", "/health", {}, 405, "method_not_supported"),
    ],
)
def test_faulty_requests_are_refused_in_openais_words(
    method: str, path: str, body: Any, status: int, code: str | None
) -> None:
    """Status, code and the four fields of an OpenAI error, with a request id."""
    got, headers, answer = asking(method, path, body)
    assert (got, answer["error"]["code"]) == (status, code)
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert headers["x-request-id"].startswith("req_")


def test_every_answer_says_what_it_is() -> None:
    """No answer can be taken for a model's."""
    for method, path in (("GET", "/health"), ("GET", "/nowhere"), ("GET", "/v1/models")):
        assert asking(method, path)[1]["x-batchmill-sandbox"] == "not a model"


def test_same_request_gets_the_same_text() -> None:
    """Answers are deterministic; another prompt gets another."""

    async def run() -> list[str]:
        async with serving() as base_url:
            other = HELLO | {"messages": [{"role": "user", "content": "hello "}]}
            bodies = [await post(base_url, body) for body in (HELLO, HELLO, other)]
            return [json.loads(body)["choices"][0]["message"]["content"] for _, body in bodies]

    first, again, other = asyncio.run(run())
    assert first == again != other


def test_replies_are_replayed_by_the_last_user_message(tmp_path: Path) -> None:
    """A known question gets its reply, from text or parts; max_tokens cuts it."""
    file = tmp_path / "replies.jsonl"
    file.write_text('{"question": "6 x 7?", "reply": "It is 42."}\n\n')
    messages: list[Any] = [
        {"role": "system", "content": "Count."},
        {"role": "user", "content": [{"type": "text", "text": "6 x 7?"}]},
        {"role": "assistant", "content": "Well"},
    ]

    async def use(client: openai.AsyncOpenAI) -> Any:
        whole = await client.chat.completions.create(model="m", messages=messages)
        cut = await client.chat.completions.create(model="m", messages=messages, max_completion_tokens=1)
        return whole.choices[0], cut

    whole, cut = with_sdk(use, Behaviour(replies=load_replies(file)))
    assert (whole.message.content, whole.finish_reason) == ("It is 42.", "stop")
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("It i", "length")
    assert cut.usage.completion_tokens == 1


@pytest.mark.parametrize("line", ["nope", "[]", '{"question": "q"}', '{"question": 1, "reply": "r"}'])
def test_bad_replies_are_named(tmp_path: Path, line: str) -> None:
    """The message says which line cannot be used."""
    file = tmp_path / "replies.jsonl"
    file.write_text(f'{{"question": "q", "reply": "r"}}\n{line}\n')
    with pytest.raises(InputError, match="line 2"):
        load_replies(file)


def test_bill_counts_what_was_answered() -> None:
    """Refused calls cost nothing, spoilt answers cost what they would have; models are kept apart."""

    async def run() -> Any:
        async with serving() as base_url, aiohttp.ClientSession() as session:
            await post(base_url, HELLO)
            await post(base_url, HELLO | {"model": "sandbox/500"})
            await post(base_url, HELLO | {"model": "sandbox/malformed"})
            await post(base_url, {})
            async with session.get(base_url.removesuffix("/v1") + "/sandbox/bill") as response:
                return await response.json()

    bill = asyncio.run(run())
    assert (bill["calls"], bill["billed_calls"]) == (4, 2)
    mini = bill["by_model"]["gpt-4o-mini"]
    assert mini["cost_nanos"] == mini["input_tokens"] * 150 + mini["output_tokens"] * 600
    assert bill["by_model"]["sandbox/500"]["cost_nanos"] == 0
    assert bill["cost_nanos"] == sum(model["cost_nanos"] for model in bill["by_model"].values())


def test_price_is_rounded_once() -> None:
    """Fractions of a nano-dollar are added up before they are rounded."""
    assert price("0.0375", "0.0001").nanos(Tokens(input=3, output=4)) == 113


def test_an_answer_s_tokens_are_bytes_over_four() -> None:
    """The count is rough, and rounds up."""
    assert [count_tokens(text) for text in ("", "a", "abcd", "abcde", "éé")] == [0, 1, 1, 2, 1]


@given(st.lists(st.text(max_size=200), max_size=4))
def test_never_more_input_is_charged_than_a_tokenizer_counts(texts: list[str]) -> None:
    """Whatever the text: what batchmill counts and holds beforehand is enough for the sandbox's bill."""
    assert count_input_tokens(texts) <= sum(count_text("gpt-4o", text).tokens for text in texts)


def test_log_line_is_on_disk_before_the_answer(tmp_path: Path) -> None:
    """Whoever has an answer finds its call in the log, with the id it was sent under."""
    log = tmp_path / "calls.jsonl"

    async def run() -> None:
        async with serving(log=log) as base_url:
            for number in range(3):
                await post(base_url, HELLO, f"r{number}/1")
                lines = [json.loads(line) for line in log.read_text().splitlines()]
                assert [line["client_request_id"] for line in lines] == [f"r{n}/1" for n in range(number + 1)]
                assert lines[-1]["endpoint"] == "/v1/chat/completions"
                assert lines[-1]["cost_nanos"] > 0

    asyncio.run(run())


def test_client_that_vanishes_is_logged_and_billed(tmp_path: Path) -> None:
    """A call whose client left while it waited is on the log once, and the next client is served."""
    log = tmp_path / "calls.jsonl"

    async def run() -> int:
        async with serving(Behaviour(latency_s=(1.0, 1.0)), log) as base_url:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await post(base_url, HELLO, "gone/1")
            return (await post(base_url, HELLO, "here/1"))[0]

    assert asyncio.run(run()) == 200
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["client_request_id"] for line in lines] == ["gone/1", "here/1"]
    assert lines[0]["cost_nanos"] > 0


def test_full_log_means_no_answer() -> None:
    """A call that cannot be logged is not answered with a 200."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")

    async def run() -> tuple[int, bytes]:
        async with serving(log=Path("/dev/full")) as base_url:
            return await post(base_url, HELLO)

    assert asyncio.run(run())[0] == 500


def test_latency_is_waited_for() -> None:
    """An answer takes at least the shortest latency."""

    async def run() -> float:
        async with serving(Behaviour(latency_s=(0.1, 0.15))) as base_url:
            started = asyncio.get_running_loop().time()
            await post(base_url, HELLO)
            return asyncio.get_running_loop().time() - started

    assert asyncio.run(run()) >= 0.1


def test_flaky_fails_each_prompt_so_often() -> None:
    """sandbox/flaky-2 fails twice, then answers, prompt by prompt."""

    async def run() -> list[int]:
        async with serving() as base_url:
            flaky = HELLO | {"model": "sandbox/flaky-2"}
            other = flaky | {"messages": [{"role": "user", "content": "other"}]}
            return [(await post(base_url, body))[0] for body in (flaky, flaky, flaky, other, flaky)]

    assert asyncio.run(run()) == [500, 500, 200, 500, 200]


def test_pipelined_requests_are_answered_in_order() -> None:
    """Several requests in one packet get their answers in turn, on one connection."""

    async def run() -> bytes:
        async with serving(Behaviour(latency_s=(0.01, 0.02))) as base_url:
            host, port = base_url.removeprefix("http://").removesuffix("/v1").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            body = json.dumps(HELLO).encode()
            first = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            writer.write(first + b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

    answer = asyncio.run(run())
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.index(b"chat.completion") < answer.index(b'"status":"ok"')


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n", b"100"),
        (
            b"POST /v1/embeddings HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
            b"5\r\n{nope\r\n0\r\n\r\n",
            b"400",
        ),
        (b"GET /health HTTP/1.0\r\n\r\n", b"200"),
    ],
)
def test_odd_http_is_met(sent: bytes, status: bytes) -> None:
    """Nonsense, expectations, chunks and HTTP/1.0 get an answer and the connection ends."""

    async def run() -> bytes:
        async with serving() as base_url:
            host, port = base_url.removeprefix("http://").removesuffix("/v1").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(), 2)
            writer.close()
            await writer.wait_closed()
            return answer

    assert asyncio.run(run()).startswith(b"HTTP/1.1 " + status)


def test_taken_port_is_a_clear_error() -> None:
    """The message names the address, the hint what to do."""

    async def run() -> None:
        async with serving() as base_url:
            port = int(base_url.removesuffix("/v1").rsplit(":", 1)[1])
            with pytest.raises(ConflictError, match=str(port)):
                await Server(Sandbox(Behaviour()), port=port).start()

    asyncio.run(run())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_says_what_it_is_and_stops_on_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    """stdout holds the base URL alone, stderr the label; a signal ends it with 0 and no traceback."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", "from cli.sandbox import sandbox; sandbox()", "--port", "0"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    base_url = process.stdout.readline().strip()
    answer = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0).models.list()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert answer.data
    assert process.returncode == 0
    assert "not a model" in said
    assert "Traceback" not in said


def test_help_lists_every_fault() -> None:
    """What can be asked for is found where one looks."""
    shown = CliRunner().invoke(batchmill, ["sandbox", "--help"]).output
    assert all(f"\n  {name} " in shown for name in (*FAULTS, *SAME_AS))
    assert "sandbox/flaky-N" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        *(("--latency", "fast"), ("--latency", "2-1"), ("--latency", "nan"), ("--latency", "0.1-inf")),
        *(("--price", "1"), ("--price", "-1/2"), ("--port", "70000")),
        *(("--fault", "500=2"), ("--fault", "500=-0.1"), ("--fault", "500=nan"), ("--fault", "500")),
        *(("--fault", "nonsense=0.1"), ("--fault", "flaky-2=0.1"), ("--fault", "=0.1"), ("--fault", "")),
        ("--fault", "500=0.6", "--fault", "529=0.5"),
        ("--fault", "reset=0.1", "--fault", "reset-after=0.1"),
        *(("--rpm", "-1"), ("--rpm", "0"), ("--rpm", "1.5"), ("--rpm", "²"), ("--rpm", "1000000001")),
        *(
            ("--rpm", "=5"),
            ("--rpm", "gpt-4o="),
            ("--tpm", "many"),
            ("--tpm", "5", "--tpm", "6"),
            ("--itpm", "0"),
            ("--otpm", "x"),
        ),
        *(("--window", "0"), ("--window", "nan"), ("--window", "-2"), ("--drip-time", "inf")),
        *(("--per-second",), ("--per-second", "--tpm", "5"), ("--forgive-refused",)),
    ],
)
def test_misuse_is_refused(arguments: tuple[str, ...]) -> None:
    """A bad value is a misuse, exit 2, and names itself."""
    result = CliRunner().invoke(batchmill, ["sandbox", *arguments])
    assert result.exit_code == 2
    assert arguments[0] in result.output
