"""Priority as producers see it: pumps on a real database, and a provider that notes whose call comes when."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from statistics import median

import pytest

from batchmill.pipeline import Pipeline
from batchmill.providers.base import Call, Reply
from batchmill.requests.model import Lane
from db.engine import Database
from db.journal import Journal
from tests.support.clocks import until
from tests.support.hands import add_batch, batch_of
from tests.support.replies import ANSWERED, make_gate, make_judge, make_offers, make_router
from workers.pump import Pump

LEASE_MS = 60_000

Act = Callable[["NotingProvider"], Awaitable[None]]


class NotingProvider:
    """Answers after some seconds; `called` is whose calls came, in order: the batches' public names."""

    name = "noting"

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.called: list[str] = []
        self.came_at: dict[str, float] = {}
        self.in_flight: Counter[str] = Counter()

    async def call(self, call: Call) -> Reply:
        """Note, wait, answer."""
        batch = "batch_" + call.client_request_id.split("_")[2]
        self.called.append(batch)
        self.came_at.setdefault(batch, time.monotonic())
        self.in_flight[batch] += 1
        await asyncio.sleep(self.latency_s)
        self.in_flight -= Counter([batch])
        return ANSWERED

    def fault(self, call: Call) -> None:
        """It can be asked anything."""

    async def close(self) -> None:
        """Nothing to close."""


def pumping(database: Database, act: Act, *, concurrency: int, latency_s: float = 0.0) -> NotingProvider:
    """Run a pump until `act` ends; the provider it called."""

    async def run() -> NotingProvider:
        provider, over = NotingProvider(latency_s), asyncio.Event()
        journal = Journal(database, "worker", lease_ms=LEASE_MS)
        async with journal.open():
            pipeline = Pipeline(
                journal=journal,
                providers={"openai": provider},
                limits=make_gate(),
                routes=make_router(),
                offers=make_offers(),
                judge=make_judge(),
                call_timeout_s=30.0,
                now_ms=database.now_ms,
            )
            pump = Pump(claims=journal, pipeline=pipeline, concurrency=concurrency, stopping=over.is_set)
            pumped = asyncio.create_task(pump.run())
            try:
                await act(provider)
            finally:
                over.set()
                await pumped
        return provider

    return asyncio.run(run())


def name_of(database: Database, batch: int) -> str:
    """The public name of a batch."""
    return str(batch_of(database, batch).public_id)


def test_high_starts_within_a_second_behind_100k_low(database: Database) -> None:
    """With 100,000 lines of `low` waiting and calls of theirs, three seconds each, in every slot they may have, `high`
    starts within a second of its commit (the median of three: a shared machine may sleep through one)."""
    low = name_of(database, add_batch(database, 100_000, lane=Lane.LOW))

    async def act(provider: NotingProvider) -> None:
        for _ in range(3):
            await until(lambda: provider.in_flight == Counter({low: 15}))
            await asyncio.sleep(1.0)  # so that the worker holds all of `low` that it will
            batch = await asyncio.to_thread(add_batch, database, 1, lane=Lane.HIGH)
            committed_at = time.monotonic()
            high = name_of(database, batch)
            await until(lambda name=high: name in provider.came_at)  # type: ignore[misc]
            waited_s.append(provider.came_at[high] - committed_at)

    waited_s: list[float] = []
    pumping(database, act, concurrency=16, latency_s=3.0)
    assert median(waited_s) < 1.0, waited_s


def test_low_comes_through_while_high_never_ends(database: Database) -> None:
    """Ageing: with more of `high` waiting than can be answered, one call in a hundred is for `low`, from early on."""
    high = name_of(database, add_batch(database, 2_000, lane=Lane.HIGH))
    low = name_of(database, add_batch(database, 100, lane=Lane.LOW))

    async def act(provider: NotingProvider) -> None:
        await until(lambda: len(provider.called) >= 1_000)

    called = Counter(pumping(database, act, concurrency=16).called[:1_000])
    assert called[high] + called[low] == 1_000
    assert 4 <= called[low] <= 25


@pytest.mark.parametrize("concurrency", [16, 256])
def test_three_tenants_of_unequal_backlog_get_equal_service(database: Database, concurrency: int) -> None:
    """Backlogs of 10:1:1: until the first of them has been served to the end all three get the same number of calls, to
    within a turn of a claim."""
    crowded, *small = (
        name_of(database, add_batch(database, lines, tenant=tenant))
        for tenant, lines in (("crowded", 6_000), ("small", 600), ("smaller", 600))
    )

    async def act(provider: NotingProvider) -> None:
        await until(lambda: any(provider.called.count(name) == 600 for name in small))

    called = pumping(database, act, concurrency=concurrency).called
    places = [[place for place, name in enumerate(called) if name == tenant] for tenant in small]
    served = Counter(called[: min(found[599] for found in places if len(found) == 600) + 1])
    turn = 2 * concurrency // 8 + 16
    assert max(served.values()) - min(served.values()) <= turn, served
    assert served[crowded] >= 600 - turn
