"""A sandbox on a free port, and plain HTTP to it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from batchmill.sandbox.app import Behaviour, Sandbox
from batchmill.sandbox.files import CallLog
from batchmill.sandbox.server import Server
from batchmill.sandbox.windows import NANOS_PER_S


class Clock:
    """Nanoseconds that stand still until moved."""

    def __init__(self) -> None:
        self.ns = NANOS_PER_S

    def __call__(self) -> int:
        return self.ns


@contextlib.asynccontextmanager
async def serving(
    behaviour: Behaviour | None = None, log: Path | None = None, clock: Clock | None = None
) -> AsyncIterator[str]:
    """A sandbox; gives its address, without `/v1`."""
    call_log = CallLog(log) if log else None
    server = Server(Sandbox(behaviour or Behaviour(), call_log, clock or Clock()))
    try:
        yield (await server.start()).removesuffix("/v1")
    finally:
        await server.stop(grace_s=0.0)
        if call_log:
            call_log.close()


async def send(
    url: str, body: Any = None, headers: Mapping[str, str] | None = None, method: str = "POST"
) -> tuple[int, Mapping[str, str], Any]:
    """Status, headers and JSON of one request; bytes are sent as they are."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, data=data, headers=headers) as response,
    ):
        return response.status, response.headers.copy(), await response.json()


def against(use: Callable[[str], Awaitable[Any]], behaviour: Behaviour | None = None, **more: Any) -> Any:
    """What `use` makes of a sandbox's address."""

    async def run() -> Any:
        async with serving(behaviour, **more) as address:
            return await use(address)

    return asyncio.run(run())
