"""Gemini on a real loopback socket: answers as its documents show them, and the three transports that ask for them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson
import pytest

from batchmill.providers.base import Call, Probe, Reply
from batchmill.providers.gemini.wire import Gemini
from batchmill.requests.model import Endpoint
from tests.support.provider_servers import Behave, http, misbehaving

FIRST_KEY, SECOND_KEY = "AIzaFirst-key-0123456789", "AIzaSecond-key-0123456789"

WHOLE: Mapping[str, Any] = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP", "index": 0}
    ],
    "usageMetadata": {
        "promptTokenCount": 5,
        "candidatesTokenCount": 2,
        "totalTokenCount": 7,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
    },
    "modelVersion": "gemini-2.5-flash",
    "responseId": "resp-1",
}

Make = Callable[..., Any]
"""Makes a provider: base_url, api_keys."""


def sdk(**options: Any) -> Any:
    """`google-genai`, or the test is skipped."""
    pytest.importorskip("google.genai")
    from batchmill.providers.gemini.sdk import GeminiSdk

    return GeminiSdk(**options)


def legacy(**options: Any) -> Any:
    """`google-generativeai`, or the test is skipped."""
    pytest.importorskip("google.ai.generativelanguage_v1beta")
    from batchmill.providers.gemini.legacy import GeminiLegacy

    return GeminiLegacy(**options)


TRANSPORTS: Mapping[str, Make] = {"http": Gemini, "google-genai": sdk, "google-generativeai": legacy}


def ask(
    model: str = "gemini-2.5-flash",
    endpoint: Endpoint = Endpoint.CHAT,
    account: int = 0,
    timeout_s: float = 5.0,
    **body: Any,
) -> Call:
    """A call; a plain question unless told otherwise."""
    plain: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
    if endpoint is Endpoint.EMBEDDINGS:
        plain = {"input": "hello"}
    return Call(
        endpoint=endpoint,
        model=model,
        body=orjson.dumps({"model": model} | plain | body),
        client_request_id="r1/1",
        timeout_s=timeout_s,
        account=account,
    )


async def read_request(reader: asyncio.StreamReader) -> tuple[str, Any]:
    """Head and JSON body of one request; None for no body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lengths = [line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length")]
    body = await reader.readexactly(int(lengths[0])) if lengths else b""
    return head, orjson.loads(body) if body else None


class Asked(list[tuple[str, Any]]):
    """What a server has been asked: heads and bodies."""


def answering(status: int, answer: Any, asked: Asked, *headers: str) -> Behave:
    """Answers every request with the same JSON, or bytes, and writes down what it was asked."""
    body = answer if isinstance(answer, bytes) else orjson.dumps(answer)

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked.append(await read_request(reader))
            writer.write(http(status, body, "content-type: application/json", *headers))
            await writer.drain()

    return behave


@contextlib.asynccontextmanager
async def gemini(make: Make, behave: Behave, **options: Any) -> AsyncIterator[Any]:
    """A provider and the server that it asks."""
    async with misbehaving(behave) as address:
        made = make(
            **({"base_url": address.removesuffix("/v1"), "api_keys": [FIRST_KEY, SECOND_KEY]} | options)
        )
        try:
            yield made
        finally:
            await made.close()


def reply_of(make: Make, behave: Behave, call: Call, **options: Any) -> Reply:
    """What a provider makes of one call to a server that behaves so."""

    async def run() -> Reply:
        async with gemini(make, behave, **options) as made:
            reply: Reply = await made.call(call)
            return reply

    return asyncio.run(run())


def probe_of(make: Make, behave: Behave, account: int = 0) -> Probe:
    """What a provider's probe finds at a server that behaves so."""

    async def run() -> Probe:
        async with gemini(make, behave) as made:
            probe: Probe = await made.probe(account=account)
            return probe

    return asyncio.run(run())
