"""Answers in pieces from a provider on OpenAI's wire, on real sockets."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from batchmill.providers.base import Call, Reply, Verdict
from batchmill.requests.model import Endpoint
from batchmill.streams.relay import Relay
from tests.support.provider_servers import (
    WHOLE,
    Behave,
    answers,
    answers_once,
    chat,
    http,
    misbehaving,
    provider,
    read_request,
)

HEAD = "content-type: text/event-stream; charset=utf-8"


def piece(**said: Any) -> bytes:
    """An event, spaced as no JSON writer of ours would."""
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"} | said
    return b"data:  " + orjson.dumps(chunk).replace(b'":', b'": ') + b"\n\n"


def delta(text: str, reason: str | None = None) -> bytes:
    """A piece of a text."""
    return piece(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": reason}])


USAGE = piece(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})
DONE = b"data: [DONE]\n\n"
TEXT = delta("he") + delta("llo", "stop")


def heard(
    behave: Behave, call: Call | None = None, options: dict[str, object] | None = None
) -> tuple[Reply, bytes]:
    """The reply to a call whose answer is wanted in pieces, and the pieces."""

    async def run() -> tuple[Reply, bytes]:
        relay = Relay(options)
        async with misbehaving(behave) as base_url, provider(base_url) as made:
            reply = await made.call(replace(call or chat(), listener=relay))
        relay.end()
        return reply, b"".join([event async for event in relay.events()])

    return asyncio.run(run())


def chunked(*pieces: bytes, is_ended: bool = True) -> bytes:
    """An answer in chunks, as servers stream."""
    head = f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{HEAD}\r\n\r\n".encode()
    body = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces)
    return head + body + (b"0\r\n\r\n" if is_ended else b"")


def test_pieces_go_through_byte_for_byte_and_make_a_whole() -> None:
    """What is heard are the provider's bytes, however they were cut; the reply is what an ordinary one would be."""
    stream = TEXT + USAGE + DONE
    cut = [stream[place : place + 7] for place in range(0, len(stream), 7)]
    reply, pieces = heard(answers(chunked(*cut)), options={"include_usage": True})
    assert pieces == TEXT + USAGE
    assert (reply.verdict, reply.finish_reason, reply.answer_model) == (Verdict.ANSWERED, "stop", "m")
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (3, 2)
    whole = orjson.loads(reply.body or b"")
    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "hello"}


def test_usage_is_asked_for_always_and_shown_to_who_asked() -> None:
    """The request says `include_usage` whatever the client says; the piece that tells it is the client's only then."""
    bodies = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await read_request(reader)
        bodies.append(orjson.loads(body))
        writer.write(http(200, TEXT + USAGE + DONE, HEAD))
        await writer.drain()

    reply, pieces = heard(behave, options={"include_obfuscation": False})
    assert pieces == TEXT
    assert reply.usage is not None
    assert bodies[0]["stream"] is True
    assert bodies[0]["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert bodies[0]["messages"] == orjson.loads(chat().body)["messages"]


@pytest.mark.parametrize(
    "stream",
    [
        chunked(delta("he"), is_ended=False),
        chunked(delta("he")),
        http(200, delta("he"), HEAD, length=9_999),
        chunked(delta("he"), b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'),
        chunked(delta("he"), b"data: {nonsense\n\n"),
    ],
    ids=["cut", "ended too early", "closed", "an error among them", "nonsense"],
)
def test_a_stream_that_breaks_off_is_unknown(stream: bytes) -> None:
    """Something was written, and may be billed, whatever came after it."""
    reply, pieces = heard(answers_once(stream))
    assert pieces.startswith(delta("he"))
    assert b"error" not in pieces
    assert (reply.verdict, reply.usage) == (Verdict.UNKNOWN, None)


def test_an_error_in_place_of_the_first_piece_may_pass() -> None:
    """Nothing has been heard yet: it is an error like any other, and may be tried again."""
    error = b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'
    reply, pieces = heard(answers(chunked(b": wait\n\n", error, DONE)))
    assert (reply.verdict, pieces) == (Verdict.RETRY, b"")


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [(http(200, WHOLE), Verdict.ANSWERED), (http(429, b'{"error":{"message":"no"}}'), Verdict.THROTTLED)],
)
def test_an_answer_that_comes_whole_is_read_as_such(answer: bytes, verdict: Verdict) -> None:
    """Servers that do not stream, and errors: nothing is heard, and the reply is the ordinary one."""
    reply, pieces = heard(answers(answer))
    assert (reply.verdict, pieces) == (verdict, b"")


def test_a_stream_whose_end_was_heard_is_whole() -> None:
    """That the connection fails after [DONE] takes nothing away."""
    reply, _ = heard(answers_once(chunked(TEXT, USAGE, DONE, is_ended=False)))
    assert reply.verdict is Verdict.ANSWERED


def test_a_response_is_told_by_its_last_event() -> None:
    """The Responses API has no [DONE]: its last event holds all of it, usage included."""
    response = {
        "id": "resp_1",
        "status": "completed",
        "model": "m",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "hello"}]}],
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    }
    created = b'event: response.created\ndata: {"type":"response.created","response":{"status":"queued"}}\n\n'
    last = orjson.dumps({"type": "response.completed", "response": response})
    stream = created + b"event: response.completed\ndata: " + last + b"\n\n"
    call = replace(chat(), endpoint=Endpoint.RESPONSES, body=b'{"model":"m","input":"hi"}')
    reply, pieces = heard(answers(chunked(stream)), call)
    assert pieces == stream
    assert (reply.verdict, orjson.loads(reply.body or b"")) == (Verdict.ANSWERED, response)


def test_pieces_are_heard_as_they_come() -> None:
    """The first is there while the provider has not sent the second."""

    async def run() -> None:
        gate = asyncio.Event()

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            answer = chunked(TEXT, USAGE, DONE)
            first = answer.index(delta("llo", "stop"))
            writer.write(answer[:first])
            await gate.wait()
            writer.write(answer[first:])
            await writer.drain()

        relay = Relay()
        async with misbehaving(behave) as base_url, provider(base_url) as made:
            call = asyncio.create_task(made.call(replace(chat(), listener=relay)))
            assert await relay.begun()
            assert not call.done()
            gate.set()
            assert (await call).verdict is Verdict.ANSWERED

    asyncio.run(run())
