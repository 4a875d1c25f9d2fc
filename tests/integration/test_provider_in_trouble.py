"""The provider against servers that misbehave: refused, dripping, reset, unreadable, too large, redirected."""

import asyncio
import gzip
import json
import socket
import tracemalloc
from typing import Any

import orjson
import pytest

from batchmill.providers.base import Call, Reply, Verdict
from batchmill.providers.http import HttpProvider
from batchmill.providers.openai import OpenAICompatible, OpenAIWire
from batchmill.providers.verdicts import EXCERPT_BYTES, LONGEST_MESSAGE
from batchmill.providers.wire import Answer
from batchmill.requests.model import Endpoint
from batchmill.sandbox.app import Behaviour, Sandbox
from batchmill.sandbox.request import Request
from batchmill.sandbox.server import Server
from tests.support.provider_servers import (
    KEY,
    WHOLE,
    answers,
    answers_once,
    chat,
    http,
    misbehaving,
    provider,
    read_request,
    reply_of,
    reset,
)


def test_refused_connection_is_unreachable() -> None:
    """No connection, nothing sent: safe to send again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening

        async def run() -> Reply:
            async with provider(f"http://127.0.0.1:{taken.getsockname()[1]}/v1") as made:
                return await made.call(chat())

        reply = asyncio.run(run())
    assert (reply.verdict, reply.error_code) == (Verdict.UNREACHABLE, "connect_failed")


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
    assert 190 <= reply.latency_ms < 5000


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


def test_a_small_answer_that_unpacks_to_a_huge_one_takes_no_memory() -> None:
    """No more is unpacked than is kept, however well it was packed."""
    answer = http(200, gzip.compress(bytes(100_000_000)), "content-encoding: gzip")
    tracemalloc.start()
    try:
        reply = reply_of(answers_once(answer), max_answer_bytes=1_000_000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reply.error_code == "answer_too_large"
    assert peak_bytes < 10_000_000


@pytest.mark.parametrize(
    ("begin", "on_and_on"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"x-more: " + b"y" * 10_000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nx-more: ", b"y" * 10_000),
        (b"HTTP/1.1 200 OK\r\n", b"x" * 10_000),
        (b"HTTP/1.1 200 ", b"O" * 10_000),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-more: ", b"y" * 10_000),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=", b"y" * 10_000),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(WHOLE), b"y" * 10_000),
    ],
    ids=["headers", "value", "name", "reason", "interim", "trailer", "chunk", "after-gzip"],
)
def test_endless_answers_are_dropped(begin: bytes, on_and_on: bytes) -> None:
    """Whatever it is that never ends, it is bounded as the body is: a server cannot fill our memory with it."""
    sent = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(begin)
        while sent < 100_000_000:
            writer.write(on_and_on)
            await writer.drain()
            sent += len(on_and_on)

    reply = reply_of(behave, chat(timeout_s=60.0), max_answer_bytes=1_000_000)
    assert (reply.verdict, reply.error_code) == (Verdict.UNKNOWN, "answer_too_large")
    assert sent < 50_000_000, "what the sockets hold comes on top"


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


@pytest.mark.parametrize("said", [r"a\/key\/of-ones-own", r"\u0061/key/of-ones-own", "a/key/of-ones-own"])
def test_a_key_is_scrubbed_however_it_is_written(said: str) -> None:
    """JSON writes a character in several ways, and whoever reads the body reads the key; all else in it stays."""
    body = f'{{"error":{{"message":"no {said}","param":"x\\ny"}}}}'.encode()
    reply = reply_of(answers(http(401, body)), api_key="a/key/of-ones-own")
    assert orjson.loads(reply.body or b"") == {"error": {"message": "no [key]", "param": "x\ny"}}
    assert reply.error_message == "no [key]"


@pytest.mark.parametrize("shown", range(1, len(KEY)))
def test_no_part_of_a_key_is_left_where_a_page_is_cut(shown: int) -> None:
    """Only the first words of a page are kept; wherever they end, a key at their end is gone as a whole."""
    page = b"<p>told: " + b" " * (EXCERPT_BYTES - 9 - shown) + KEY.encode()
    assert page[:EXCERPT_BYTES].endswith(KEY[:shown].encode())
    reply = reply_of(answers(http(500, page)))
    assert reply.error_message in ("told: [key]", "told: " + "[key]"[:shown])


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


class NarrowWire(OpenAIWire):
    """A wire that has not thought of everything."""

    def read(self, endpoint: Endpoint, answer: Any, body: bytes) -> Answer | None:
        """Fails."""
        raise RecursionError("deeper than ever")


def test_an_answer_stranger_than_any_is_unknown() -> None:
    """Whatever reading it raises becomes a verdict: one answer must not end the calls of all others."""

    async def run() -> Reply:
        async with misbehaving(answers_once(http())) as base_url:
            wire = NarrowWire(name="local", base_url=base_url, api_keys=[KEY])
            made = HttpProvider(wire=wire)
            try:
                return await made.call(chat())
            finally:
                await made.close()

    reply = asyncio.run(run())
    assert (reply.verdict, reply.error_code, reply.status_code) == (Verdict.UNKNOWN, "malformed_answer", 200)
