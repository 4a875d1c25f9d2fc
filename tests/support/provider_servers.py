"""The provider on real loopback sockets: calls to make, and servers that answer as a test says."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from batchmill.providers.base import Call, Reply
from batchmill.providers.openai import OpenAICompatible
from batchmill.requests.model import Endpoint
from batchmill.sandbox.app import Behaviour, Sandbox
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
async def misbehaving(
    behave: Behave, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[str]:
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

    server = await asyncio.start_server(meet, host, 0, ssl=tls)
    try:
        named = f"[{host}]" if ":" in host else host
        yield f"{'https' if tls else 'http'}://{named}:{server.sockets[0].getsockname()[1]}/v1"
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
