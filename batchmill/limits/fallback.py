"""The limiter of a worker: shared while the server answers, its own part of the limits while it does not."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from batchmill.limits.memory import MemoryLimiter
from batchmill.limits.model import Admission, Ask, Bucket, Settlement
from batchmill.limits.valkey import ValkeyLimiter

log = structlog.get_logger()

PATIENCE_S: Final = 0.25
"""The longest that anybody waits for the server."""

TRY_EVERY_S: Final = 1.0
"""How often a server that was lost is tried again."""


class FallbackLimiter:
    """Never fails, and never keeps its caller for more than `PATIENCE_S`.

    Weakness: while some workers reach the server and others do not, the former use all of a limit and the latter their
    part of it.

    Args:
        share: How many workers divide the limits between them while the server is lost.
        clock: That of the event loop, in seconds.
    """

    def __init__(
        self, shared: ValkeyLimiter, share: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shared = shared
        self._own = MemoryLimiter(clock, share)
        self._clock = clock
        self._is_lost = False
        self._is_passed_by = False
        self._try_at_s = 0.0

    @property
    def is_shared(self) -> bool:
        """Whether the server answered when it was last asked."""
        return not self._is_lost

    async def admit(self, asks: Sequence[Ask]) -> list[Admission]:
        """Answer each ask, in their order; what is behind another in the same bucket does not pass it."""
        answers: list[Admission] = []

        async def ask_shared() -> None:
            answers.extend(await self._shared.admit(asks))

        if await self._reach(ask_shared):
            return answers
        self._shared.permits.drop(ask.permit for ask in asks)
        answers = await self._own.admit(asks)
        if not self._is_passed_by:
            learned = self._shared.learned()
            self._is_passed_by = any(
                answer.granted and any(bucket.limits or bucket.name in learned for bucket in ask.buckets)
                for ask, answer in zip(asks, answers, strict=True)
            )
            if self._is_passed_by:
                self._shared.forget()
        return answers

    def lets_through(self, buckets: Sequence[Bucket]) -> bool:
        """Whether nothing limits a call in these buckets, as far as is known now."""
        return (self._own if self._is_lost else self._shared).lets_through(buckets)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Give slots back, and learn from how calls ended. A permit that is not out is passed over."""
        own, shared = self._own.permits.take(settlements), self._shared.permits.take(settlements)
        self._own.apply([*own, *(closing.overheard() for closing in shared)])
        told = [*shared, *(closing.overheard() for closing in own)]
        await self._reach(lambda: self._shared.apply(told))

    async def renew(self, permits: Collection[str]) -> None:
        """Keep the slots of calls still out for another lease."""
        asks = self._own.permits.asks(permits) + self._shared.permits.asks(permits)
        if not await self._reach(lambda: self._shared.hold(asks)):
            self._own.hold(asks)

    def divide(self, among: int) -> None:
        """From now on so many processes divide the limits between them while the server is lost."""
        self._own.divide(among)

    async def close(self) -> None:
        """Let go of every connection."""
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self._shared.close()

    async def _reach(self, act: Callable[[], Awaitable[None]]) -> bool:
        """Do something with the server, unless it is lost and was tried just now; whether that went well."""
        if self._is_lost and self._clock() < self._try_at_s:
            return False
        self._try_at_s = self._clock() + TRY_EVERY_S
        try:
            async with asyncio.timeout(PATIENCE_S):
                await act()
        except (RedisError, OSError, TimeoutError) as error:
            self._lose(error)
            return False
        if self._is_lost:
            self._is_lost = self._is_passed_by = False
            log.info("limits_shared_again")
        return True

    def _lose(self, error: Exception) -> None:
        self._try_at_s = self._clock() + TRY_EVERY_S
        if self._is_lost:
            return
        self._is_lost = True
        self._own.know(self._shared.learned())
        self._own.forget()
        self._own.hold(self._shared.permits.asks())
        log.warning("limits_not_shared", error=type(error).__name__, reason=str(error))


def connect(url: str, share: int) -> FallbackLimiter:
    """The limiter of one worker of several; nothing is sent until it is used.

    Args:
        url: `redis://`, `rediss://`, `unix://`, or `redis+socket://` as Celery writes the latter.
        share: How many workers there are.
    """
    client = Redis.from_url(
        url.replace("redis+socket://", "unix://", 1),
        socket_timeout=PATIENCE_S,
        socket_connect_timeout=PATIENCE_S,
        retry=Retry(NoBackoff(), 0),
    )
    return FallbackLimiter(ValkeyLimiter(client), share)
