"""Providers of other wires on real loopback sockets."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

from batchmill.providers.base import Call, Reply
from batchmill.providers.http import HttpProvider
from tests.support.provider_servers import Behave, misbehaving

Made = TypeVar("Made", bound=HttpProvider)
Seen = list[tuple[str, bytes]]


def told(answer: bytes, seen: Seen | None = None) -> Behave:
    """Answers every request with the same bytes, and keeps its head and body."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
            body = await reader.readexactly(int(length[1])) if length else b""
            if seen is not None:
                seen.append((head.decode(), body))
            writer.write(answer)
            await writer.drain()

    return behave


def through(make: Callable[[str], Made], behave: Behave, *calls: Call) -> list[Reply]:
    """What a provider makes of calls to a server that behaves so.

    Args:
        make: Makes the provider from the server's address, without a path.
    """

    async def use(made: Made) -> list[Reply]:
        return [await made.call(call) for call in calls]

    return with_provider(make, behave, use)


T = TypeVar("T")


def with_provider(make: Callable[[str], Made], behave: Behave, use: Callable[[Made], Awaitable[T]]) -> T:
    """What a use of a provider gives, at a server that behaves so."""

    async def run() -> T:
        async with misbehaving(behave) as base_url:
            made = make(base_url.removesuffix("/v1"))
            try:
                return await use(made)
            finally:
                await made.close()

    return asyncio.run(run())
