"""Threads of their own for whatever waits for the file store: one that hangs keeps nobody else waiting."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

T = TypeVar("T")

MOST = 32
_threads: RunVar[CapacityLimiter] = RunVar("store threads")


async def in_thread(do: Callable[..., T], *arguments: object) -> T:
    """Have it done; whoever leaves meanwhile is held until it is."""
    return await to_thread.run_sync(do, *arguments, limiter=_limiter())


async def passed_on(beginning: bytes, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """What was read already and what is read next, in chunks; it is closed when whoever reads leaves."""
    chunk: bytes | None = beginning
    try:
        while chunk:
            yield chunk
            chunk = await in_thread(next, chunks, None)
    finally:
        with anyio.CancelScope(shield=True):
            await in_thread(_close, chunks)


def _close(chunks: Iterator[bytes]) -> None:
    close = getattr(chunks, "close", None)
    if close is not None:
        close()


def _limiter() -> CapacityLimiter:
    try:
        return _threads.get()
    except LookupError:
        limiter = CapacityLimiter(MOST)
        _threads.set(limiter)
        return limiter
