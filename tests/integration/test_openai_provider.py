"""The provider on real loopback sockets: against the sandbox, and against servers that misbehave."""

import asyncio
import contextlib
import gzip
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from batchmill.errors import SettingsError
from batchmill.providers.base import Call, Reply, Verdict
from batchmill.providers.openai import OpenAICompatible
from batchmill.providers.verdicts import LONGEST_MESSAGE
from batchmill.requests.model import Endpoint
from batchmill.sandbox.app import Behaviour, Sandbox
from batchmill.sandbox.http import Request
from batchmill.sandbox.server import Server

KEY = "local-test-key-0123456789"
Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

WHOLE = (
    b'{"id":"x","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)


def chat(model: str = "gpt-4o-mini", timeout_s: float = 5.0, **more: Any) -> Call:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **more}
    return Call(
        endpoint=Endpoint.CHAT,
        model=model,
        body=orjson.dumps(body),
        client_request_id="r1/1",
        timeout_s=timeout_s,
    )


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    return head, await reader.readexactly(length)


def http(
    status: int = 200, body: bytes = WHOLE, *headers: str, length: int | None = None, more: bytes = b""
) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body) if length is None else length}", *headers]
    return "\r\n".join((*lines, "", "")).encode() + body + more


@contextlib.asynccontextmanager
async def misbehaving(behave: Behave) -> AsyncIterator[str]:
    """A server that does what `behave` does with each connection; gives its base URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await behave(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answers(answer: bytes) -> Behave:
    """Answers every request of a connection with the same bytes."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()

    return behave


def answers_once(answer: bytes) -> Behave:
    """Answers the first request of a connection, then closes it."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    return behave


@contextlib.asynccontextmanager
async def provider(base_url: str, **options: Any) -> AsyncIterator[OpenAICompatible]:
    made = OpenAICompatible(name="local", base_url=base_url, **({"api_key": KEY} | options))
    try:
        yield made
    finally:
        await made.close()


def reply_of(behave: Behave, call: Call | None = None, **options: Any) -> Reply:
    """What the provider makes of one call to a server that behaves so."""

    async def run() -> Reply:
        async with misbehaving(behave) as base_url, provider(base_url, **options) as made:
            return await made.call(call or chat())

    return asyncio.run(run())


def reply_of_sandbox(call: Call) -> Reply:
    async def run() -> Reply:
        server = Server(Sandbox(Behaviour()))
        try:
            async with provider(await server.start()) as made:
                return await made.call(call)
        finally:
            await server.stop(grace_s=0.0)

    return asyncio.run(run())


def reset(writer: asyncio.StreamWriter) -> None:
    """Make closing the connection send RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# answers


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
    assert reply.provider_request_id.startswith("req_")
    assert reply.usage is not None
    assert reply.usage.input_tokens == (0 if endpoint is Endpoint.MODERATIONS else 2)
    assert (reply.usage.output_tokens > 0) is bool(finish_reason)


@pytest.mark.parametrize(
    ("model", "verdict", "code", "status"),
    [
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
    ],
)
def test_every_fault_of_the_sandbox_has_its_verdict(
    model: str, verdict: Verdict, code: str, status: int
) -> None:
    """Over a real socket, what the table says."""
    reply = reply_of_sandbox(chat(f"sandbox/{model}"))
    assert (reply.verdict, reply.error_code, reply.status_code) == (verdict, code, status)
    assert reply.error_message


def test_throttled_carries_the_wait() -> None:
    """retry-after-ms reaches the caller, in seconds."""
    assert reply_of_sandbox(chat("sandbox/429")).retry_after_s == 0.2


def test_cut_answer_is_an_answer() -> None:
    """`length` is answered and billed; whether to keep it is another's decision."""
    reply = reply_of_sandbox(chat("sandbox/length"))
    assert (reply.verdict, reply.finish_reason) == (Verdict.ANSWERED, "length")


@pytest.mark.parametrize(
    ("model", "code"), [("sandbox/reset", "connection_reset"), ("sandbox/hang", "request_timeout")]
)
def test_lost_answer_is_unknown(model: str, code: str) -> None:
    """Reset or silence after sending: nobody can say whether it was billed."""
    reply = reply_of_sandbox(chat(model, timeout_s=0.3))
    assert (reply.verdict, reply.status_code) == (Verdict.UNKNOWN, None)
    assert reply.error_code in (code, "disconnected")


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
    ],
)
def test_unusable_settings_fail_at_start(options: dict[str, str]) -> None:
    """A bad URL or key is named at once, and the key is not shown."""
    with pytest.raises(SettingsError, match="local") as caught:
        OpenAICompatible(**({"name": "local", "base_url": "https://h/v1", "api_key": KEY} | options))  # type: ignore[arg-type]
    assert "secret" not in str(caught.value) + caught.value.hint


# what may go wrong


def test_refused_connection_is_unreachable() -> None:
    """No connection, nothing sent: safe to send again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening

        async def run() -> Reply:
            async with provider(f"http://127.0.0.1:{taken.getsockname()[1]}/v1") as made:
                return await made.call(chat())

        reply = asyncio.run(run())
    assert (reply.verdict, reply.error_code) == (Verdict.UNREACHABLE, "connect_failed")


def test_failed_tls_is_unreachable() -> None:
    """A server that speaks no TLS never gets the request."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 speak plainly\r\n\r\n")

    async def run() -> Reply:
        async with misbehaving(behave) as base_url, provider(base_url.replace("http:", "https:")) as made:
            return await made.call(chat())

    assert asyncio.run(run()).verdict == Verdict.UNREACHABLE


def test_time_out_before_a_connection_is_unreachable() -> None:
    """TLS that never completes spends the whole time, and nothing was sent."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def run() -> Reply:
        async with misbehaving(behave) as base_url, provider(base_url.replace("http:", "https:")) as made:
            return await made.call(chat(timeout_s=0.1))

    reply = asyncio.run(run())
    assert (reply.verdict, reply.error_code) == (Verdict.UNREACHABLE, "connect_timeout")


def test_time_out_in_the_queue_for_a_connection_is_unreachable() -> None:
    """With every connection busy a call that runs out of time was never sent."""
    requests = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await read_request(reader)
        requests += 1
        await asyncio.sleep(60)

    async def run() -> list[Reply]:
        async with misbehaving(behave) as base_url, provider(base_url, concurrency=1) as made:
            first = asyncio.create_task(made.call(chat(timeout_s=0.3)))
            await asyncio.sleep(0.05)
            return [await made.call(chat(timeout_s=0.1)), await first]

    queued, first = asyncio.run(run())
    assert (queued.verdict, first.verdict) == (Verdict.UNREACHABLE, Verdict.UNKNOWN)
    assert requests == 1


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nx-slow: ", b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"]
)
def test_dripping_server_is_cut_off_in_time(head: bytes) -> None:
    """A byte now and then resets no clock: the whole call is bounded, and unknown."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    reply = reply_of(behave, chat(timeout_s=0.2))
    assert (reply.verdict, reply.error_code) == (Verdict.UNKNOWN, "request_timeout")
    assert 190 <= reply.latency_ms < 1000


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nconte", http(200, WHOLE[:20], length=len(WHOLE))])
@pytest.mark.parametrize("hard", [True, False])
def test_connection_lost_after_sending_is_unknown(said: bytes, hard: bool) -> None:
    """Reset or closed before, within or after the headers: sent, no evidence of cost."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(said)
        await writer.drain()
        await asyncio.sleep(0.02)
        if hard:
            reset(writer)

    reply = reply_of(behave)
    assert reply.verdict == Verdict.UNKNOWN
    assert reply.error_code in ("disconnected", "connection_reset", "broken_answer", "malformed_answer")
    assert reply.body is None


def test_stale_connection_is_unknown_and_sent_once() -> None:
    """A kept connection dropped as the next request arrives: that request is not sent again."""
    requests = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await read_request(reader)
        requests += 1
        writer.write(http())
        await read_request(reader)
        requests += 1  # and away without a byte

    async def run() -> list[Verdict]:
        async with misbehaving(behave) as base_url, provider(base_url) as made:
            return [(await made.call(chat())).verdict for _ in range(2)]

    assert asyncio.run(run()) == [Verdict.ANSWERED, Verdict.UNKNOWN]
    assert requests == 2


def test_connection_closed_between_calls_is_replaced() -> None:
    """A server that closes after its answer costs nothing: the next call opens anew."""

    async def run() -> list[Verdict]:
        verdicts = []
        async with misbehaving(answers_once(http())) as base_url, provider(base_url) as made:
            for _ in range(3):
                verdicts.append((await made.call(chat())).verdict)
                await asyncio.sleep(0.02)
        return verdicts

    assert asyncio.run(run()) == [Verdict.ANSWERED] * 3


@pytest.mark.parametrize(
    "answer",
    [
        http(200, b""),
        http(200, b"<html>welcome</html>"),
        http(200, WHOLE[:-5]),
        http(200, b"[]"),
        http(200, b'"hi"'),
        http(200, b"{}"),
        http(200, b'{"choices":[]}'),
        http(204, b""),
        http(200, WHOLE, length=len(WHOLE) - 7),
        http(200, b"not gzip", "content-encoding: gzip"),
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
    ],
)
def test_unreadable_success_is_unknown(answer: bytes) -> None:
    """A 200 that holds no whole answer may have been billed: neither answered nor free."""
    reply = reply_of(answers_once(answer))
    assert reply.verdict == Verdict.UNKNOWN
    assert reply.error_code in ("malformed_answer", "broken_answer")


def test_malformed_answer_keeps_the_usage_it_names() -> None:
    """What an unreadable answer says it used is known, though the answer is lost."""
    body = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    reply = reply_of(answers(http(200, body)))
    assert reply.usage is not None
    assert reply.usage.output_tokens == 4


def test_extra_bytes_after_an_answer_do_not_reach_the_next_call() -> None:
    """A body longer than its length never becomes another call's answer."""
    extra = http(200, WHOLE, more=http(200, WHOLE.replace(b'"hi"', b'"stolen"')))

    async def run() -> list[Reply]:
        async with misbehaving(answers(extra)) as base_url, provider(base_url) as made:
            return [await made.call(chat()) for _ in range(2)]

    for reply in asyncio.run(run()):
        assert reply.body is None or b"stolen" not in reply.body


def test_whole_answer_is_kept_though_its_length_was_never_said() -> None:
    """Without a length the end of the connection ends the body."""
    reply = reply_of(answers_once(b"HTTP/1.1 200 OK\r\n\r\n" + WHOLE))
    assert (reply.verdict, reply.body) == (Verdict.ANSWERED, WHOLE)


def test_compressed_answer_is_read() -> None:
    """gzip is accepted, and unpacked to the provider's own bytes."""
    reply = reply_of(answers(http(200, gzip.compress(WHOLE), "content-encoding: gzip")))
    assert (reply.verdict, reply.body) == (Verdict.ANSWERED, WHOLE)


@pytest.mark.parametrize("packed", [True, False])
def test_huge_answer_is_dropped(packed: bool) -> None:
    """More than the bound, unpacked size counted, is never held: unknown, and said so."""
    body = b'{"choices":[{"x":"' + b"y" * 3_000_000 + b'"}]}'
    answer = http(200, gzip.compress(body), "content-encoding: gzip") if packed else http(200, body)
    reply = reply_of(answers_once(answer), max_answer_bytes=1_000_000)
    assert (reply.verdict, reply.error_code, reply.body) == (Verdict.UNKNOWN, "answer_too_large", None)


def test_half_an_emoji_does_not_lose_the_answer() -> None:
    """A lone surrogate, cut by a token limit, is replaced; the rest is kept as valid JSON."""
    reply = reply_of(answers(http(200, WHOLE.replace(b'"hi"', b'"hi \\ud83d"'))))
    assert reply.verdict == Verdict.ANSWERED
    assert orjson.loads(reply.body or b"")["choices"][0]["message"]["content"] == "hi \ufffd"


def test_redirect_is_not_followed() -> None:
    """The key goes nowhere else; the message says where to."""
    requests = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await read_request(reader)
        requests += 1
        writer.write(http(307, b"", "location: http://127.0.0.1:9/v2"))

    reply = reply_of(behave)
    assert (reply.verdict, reply.error_code, reply.status_code) == (Verdict.BLOCKED, "redirected", 307)
    assert "http://127.0.0.1:9/v2" in reply.error_message
    assert requests == 1


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        ({"code": 429, "message": "slow"}, Verdict.THROTTLED),
        ({"code": "insufficient_quota"}, Verdict.BLOCKED),
        ({"code": 400, "message": "bad"}, Verdict.REFUSED),
        ({"message": "?"}, Verdict.RETRY),
    ],
)
def test_error_inside_a_200_is_never_an_answer(error: dict[str, Any], verdict: Verdict) -> None:
    """Even beside choices and usage; the usage it names is kept."""
    body = json.loads(WHOLE) | {"error": error}
    reply = reply_of(answers(http(200, orjson.dumps(body))))
    assert (reply.verdict, reply.status_code) == (verdict, 200)
    assert reply.usage is not None


def test_error_page_of_a_proxy_is_quoted() -> None:
    """HTML is no body to keep; its words are the message."""
    page = b"<html><style>p{}</style><h1>502 Bad Gateway</h1><hr>nginx</html>"
    reply = reply_of(answers(http(502, page)))
    assert (reply.verdict, reply.body) == (Verdict.RETRY, None)
    assert reply.error_message == "502 Bad Gateway nginx"


def test_status_is_believed_when_its_body_is_cut() -> None:
    """A 500 whose body never ends well is still a 500."""
    reply = reply_of(answers_once(http(500, b'{"err', length=100)))
    assert (reply.verdict, reply.status_code) == (Verdict.RETRY, 500)


def test_echoed_key_is_scrubbed() -> None:
    """A server that repeats our key does not get it into messages, bodies or ids; long messages are cut."""
    error = {"error": {"message": f"bad {KEY} " + "z" * 489 + KEY + "z" * 5000, "code": f"c-{KEY}"}}
    reply = reply_of(answers(http(400, orjson.dumps(error), f"x-request-id: {KEY}")))
    assert KEY not in repr(reply)
    assert KEY[:10] not in reply.error_message
    assert len(reply.error_message) <= LONGEST_MESSAGE


def test_key_is_not_shown_by_the_provider() -> None:
    """Neither repr nor its parts' repr hold the key."""
    made = OpenAICompatible(name="local", base_url="http://h/v1", api_key=KEY)
    assert KEY not in repr(made) + repr(made._reader)


def test_cancelling_a_call_propagates_and_closes_its_connection() -> None:
    """Cancelled is cancelled, no reply; the half-used connection is not used again."""
    connections = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_request(reader)
        if connections == 1:
            await asyncio.sleep(60)
        writer.write(http())

    async def run() -> Reply:
        async with misbehaving(behave) as base_url, provider(base_url, concurrency=1) as made:
            task = asyncio.create_task(made.call(chat()))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await made.call(chat())

    assert asyncio.run(run()).verdict == Verdict.ANSWERED
    assert connections == 2


def test_closing_twice_and_calling_again_is_fine() -> None:
    """close is safe to repeat, and a later call opens anew."""

    async def run() -> Verdict:
        async with misbehaving(answers(http())) as base_url, provider(base_url) as made:
            await made.close()
            await made.call(chat())
            await made.close()
            await made.close()
            return (await made.call(chat())).verdict

    assert asyncio.run(run()) == Verdict.ANSWERED


def test_many_calls_share_few_connections_and_keep_their_answers() -> None:
    """Each of 300 concurrent calls gets the answer to its own question, over eight connections."""
    log: list[str] = []

    class Listening(Sandbox):
        def handle(self, request: Request) -> Any:
            log.append(request.client_request_id)
            return super().handle(request)

    async def ask(made: OpenAICompatible, number: int) -> bool:
        body = {"model": "m", "messages": [{"role": "user", "content": f"question {number}!"}]}
        call = Call(
            endpoint=Endpoint.CHAT,
            model="m",
            body=orjson.dumps(body),
            client_request_id=f"r{number}/1",
            timeout_s=20.0,
        )
        return f"question {number}!".encode() in ((await made.call(call)).body or b"")

    async def run() -> list[bool]:
        server = Server(Listening(Behaviour()))
        try:
            async with provider(await server.start(), concurrency=8) as made:
                right = await asyncio.gather(*(ask(made, number) for number in range(300)))
                assert len(server._connections) <= 8
                return right
        finally:
            await server.stop(grace_s=0.0)

    assert all(asyncio.run(run()))
    assert sorted(log) == sorted(f"r{number}/1" for number in range(300))
