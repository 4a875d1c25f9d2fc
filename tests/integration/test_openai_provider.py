"""The provider on real loopback sockets: how a call goes out, and what a good answer becomes."""

import asyncio
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from batchmill.cache.policy import storable
from batchmill.errors import SettingsError
from batchmill.providers.base import Call, Reply, Verdict
from batchmill.providers.openai import OpenAICompatible
from batchmill.requests.model import Endpoint
from batchmill.sandbox.faults import FAULTS, SAME_AS
from tests.support.provider_servers import (
    KEY,
    WHOLE,
    chat,
    http,
    misbehaving,
    provider,
    read_request,
    reply_of,
    reply_of_sandbox,
)


@pytest.mark.parametrize(
    ("endpoint", "body", "finish_reason"),
    [
        (Endpoint.CHAT, {"messages": [{"role": "user", "content": "hello"}]}, "stop"),
        (Endpoint.RESPONSES, {"input": "hello"}, "stop"),
        (Endpoint.COMPLETIONS, {"prompt": "hello"}, "stop"),
        (Endpoint.EMBEDDINGS, {"input": "hello", "dimensions": 8}, ""),
        (Endpoint.MODERATIONS, {"input": "hello"}, ""),
    ],
)
def test_every_endpoint_is_answered(endpoint: Endpoint, body: dict[str, Any], finish_reason: str) -> None:
    """A whole answer: model, usage, reason and the provider's request id are read."""
    reply = reply_of_sandbox(
        Call(
            endpoint=endpoint,
            model="m",
            body=orjson.dumps({"model": "m", **body}),
            client_request_id="r/1",
            timeout_s=5.0,
        )
    )
    assert (reply.verdict, reply.status_code, reply.error_code) == (Verdict.ANSWERED, 200, "")
    assert (reply.finish_reason, reply.answer_model) == (finish_reason, "m")
    assert storable(reply, endpoint), "nobody else may use it"
    assert reply.provider_request_id.startswith("req_")
    assert reply.usage is not None
    assert reply.usage.input_tokens == (0 if endpoint is Endpoint.MODERATIONS else 1)
    assert (reply.usage.output_tokens > 0) is bool(finish_reason)


MET: list[tuple[str, Verdict, str, int | None]] = [
    ("400", Verdict.REFUSED, "invalid_request_error", 400),
    ("401", Verdict.BLOCKED, "invalid_api_key", 401),
    ("402", Verdict.BLOCKED, "billing_error", 402),
    ("403", Verdict.BLOCKED, "permission_error", 403),
    ("404", Verdict.REFUSED, "model_not_found", 404),
    ("408", Verdict.RETRY, "server_error", 408),
    ("409", Verdict.RETRY, "conflict_error", 409),
    ("422", Verdict.REFUSED, "invalid_request_error", 422),
    ("429", Verdict.THROTTLED, "rate_limit_exceeded", 429),
    ("500", Verdict.RETRY, "server_error", 500),
    ("502", Verdict.RETRY, "server_error", 502),
    ("503", Verdict.RETRY, "slow_down", 503),
    ("504", Verdict.RETRY, "server_error", 504),
    ("529", Verdict.RETRY, "overloaded_error", 529),
    ("quota", Verdict.BLOCKED, "insufficient_quota", 429),
    ("too-large", Verdict.REFUSED, "request_too_large", 429),
    ("200-error", Verdict.RETRY, "http_502", 200),
    ("malformed", Verdict.UNKNOWN, "malformed_answer", 200),
    ("flaky-1", Verdict.RETRY, "server_error", 500),
    ("truncated", Verdict.UNKNOWN, "broken_answer", 200),
    ("reset-before", Verdict.UNKNOWN, "connection_reset", None),
    ("reset-after", Verdict.UNKNOWN, "connection_reset", None),
    ("reset", Verdict.UNKNOWN, "connection_reset", None),
    ("timeout", Verdict.UNKNOWN, "request_timeout", None),
    ("hang", Verdict.UNKNOWN, "request_timeout", None),
    ("length", Verdict.ANSWERED, "", 200),
]


@pytest.mark.parametrize(("model", "verdict", "code", "status"), MET)
def test_every_fault_of_the_sandbox_has_its_verdict(
    model: str, verdict: Verdict, code: str, status: int | None
) -> None:
    """Over a real socket, what the table says. What may have been billed is unknown, never simply tried again."""
    timeout_s = 0.5 if code == "request_timeout" else 5.0
    reply = reply_of_sandbox(chat(f"sandbox/{model}", timeout_s))
    assert (reply.verdict, reply.error_code, reply.status_code) == (verdict, code, status)
    assert bool(reply.error_message) == bool(code)


def test_no_fault_is_left_out() -> None:
    """The table above is whole; what becomes of a drip hangs on the time it is given, see test_sandbox_faults."""
    assert {model for model, *_ in MET} == {*FAULTS, *SAME_AS, "flaky-1"} - {"drip"}


def test_throttled_carries_the_wait() -> None:
    """retry-after-ms reaches the caller, in seconds."""
    assert reply_of_sandbox(chat("sandbox/429")).retry_after_s == 0.2


def test_cut_answer_is_an_answer() -> None:
    """`length` is answered and billed; whether to keep it is another's decision."""
    reply = reply_of_sandbox(chat("sandbox/length"))
    assert (reply.verdict, reply.finish_reason) == (Verdict.ANSWERED, "length")


# what goes out


def test_request_goes_out_as_it_came() -> None:
    """Body byte for byte, the key as bearer, our id, no cookies, once."""
    seen: list[tuple[bytes, bytes]] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await read_request(reader))
            writer.write(http(200, WHOLE, "set-cookie: a=b"))

    body = b'{ "model":"m",  "x": 1.0, "messages":[] }'

    async def run() -> None:
        call = Call(endpoint=Endpoint.CHAT, model="m", body=body, client_request_id="r9/2", timeout_s=5.0)
        async with misbehaving(behave) as address:
            base_url = address.replace("127.0.0.1", "localhost")  # cookies are for names, not numbers
            async with provider(base_url, api_key=SecretStr(KEY)) as made:
                assert (await made.call(call)).verdict == Verdict.ANSWERED
                assert (await made.call(call)).verdict == Verdict.ANSWERED

    asyncio.run(run())
    head = seen[1][0].decode().lower()
    assert [sent for _, sent in seen] == [body, body]
    assert head.startswith("post /v1/chat/completions http/1.1\r\n")
    assert f"authorization: bearer {KEY}" in head
    assert "x-client-request-id: r9/2" in head
    assert "cookie" not in head


def test_no_key_sends_no_authorization() -> None:
    """Local servers take calls without one."""
    seen: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await read_request(reader))[0])
        writer.write(http())

    reply_of(behave, api_key="")
    assert b"authorization" not in seen[0].lower()


def test_organisation_and_project_are_sent() -> None:
    """A key of several organisations bills the one that is named, by the headers that the SDK sends."""
    seen: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _ = await read_request(reader)
        seen.append(head.lower())
        writer.write(http())

    assert reply_of(behave, organization="org-1", project="proj-2").verdict is Verdict.ANSWERED
    assert b"openai-organization: org-1" in seen[0]
    assert b"openai-project: proj-2" in seen[0]


def test_large_body_goes_out_whole() -> None:
    """Two megabytes pass without a warning, with their length said."""
    text = "x" * 2_000_000
    sizes: list[int] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sizes.append(len((await read_request(reader))[1]))
        writer.write(http())

    call = chat(user=text)
    assert reply_of(behave, call).verdict == Verdict.ANSWERED
    assert sizes == [len(call.body)]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 103 Early Hints\r\nx-request-id: other\r\n\r\n"
        + http(200, WHOLE, "x-empty:", "X-Request-ID: mine"),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-request-id: mine\r\n\r\n"
        + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (WHOLE[:7], WHOLE[7:], b"")),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-request-id: mine\r\n\r\n"
        + b"%x;a=b\r\n%b\r\n0\r\nx-request-id: other\r\nx-cost: 1\r\n\r\n" % (len(WHOLE), WHOLE),
        http(200, WHOLE, "x-request-id: mine", "upgrade: h2,h2c", "connection: upgrade, keep-alive"),
    ],
)
def test_answers_are_read_however_they_are_sent(answer: bytes) -> None:
    """In chunks, with trailers, after an interim answer, offering HTTP/2, byte by byte; twice over one connection."""
    connections = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(2):
            await read_request(reader)
            for at in range(len(answer)):
                writer.write(answer[at : at + 1])
                await asyncio.sleep(0)

    async def run() -> list[Reply]:
        async with misbehaving(behave) as base_url, provider(base_url) as made:
            return [await made.call(chat()), await made.call(chat())]

    for reply in asyncio.run(run()):
        assert (reply.verdict, reply.body, reply.provider_request_id) == (Verdict.ANSWERED, WHOLE, "mine")
    assert connections == 1


@pytest.mark.parametrize(
    ("base_url", "target"),
    [
        ("/v1", b"/v1/embeddings"),
        ("/v1/", b"/v1/embeddings"),
        ("", b"/embeddings"),
        ("/openai/v1", b"/openai/v1/embeddings"),
        ("/v1beta/openai/", b"/v1beta/openai/embeddings"),
        ("/v1?api-version=1", b"/v1/embeddings?api-version=1"),
    ],
)
def test_addressing_is_the_sdks(base_url: str, target: bytes) -> None:
    """The endpoint follows the base URL as in the official SDK; `/v1` is never doubled."""
    seen: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await read_request(reader))[0].split(b" ")[1])
        writer.write(http())

    async def run() -> None:
        async with (
            misbehaving(behave) as address,
            provider(address.removesuffix("/v1") + base_url) as made,
        ):
            await made.call(
                Call(
                    endpoint=Endpoint.EMBEDDINGS,
                    model="m",
                    body=b"{}",
                    client_request_id="r/1",
                    timeout_s=5.0,
                )
            )

    asyncio.run(run())
    assert seen == [target]


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "api.openai.com/v1"},
        {"base_url": "ftp://h/v1"},
        {"base_url": ""},
        {"base_url": "https://user:secret-word@h/v1"},
        {"api_key": "two words-secret-word"},
        {"api_key": "secret-word\r\nx: y"},
        {"api_key": "secret-wörd"},
        {"organization": "org\r\nx: secret"},
    ],
)
def test_unusable_settings_fail_at_start(options: dict[str, str]) -> None:
    """A bad URL or key is named at once, and the key is not shown."""
    with pytest.raises(SettingsError, match="local") as caught:
        OpenAICompatible(**({"name": "local", "base_url": "https://h/v1", "api_key": KEY} | options))  # type: ignore[arg-type]
    assert "secret" not in str(caught.value) + caught.value.hint
