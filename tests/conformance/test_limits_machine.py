"""Every order of events that Hypothesis can think of: memory and Valkey say the same, and plain lists agree."""

import asyncio
import itertools
from collections import defaultdict
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from batchmill.limits.memory import MemoryLimiter
from batchmill.limits.model import (
    LEASE_S,
    RATES,
    Admission,
    Ask,
    Bucket,
    Demand,
    Dimension,
    Limits,
    Quota,
    Settlement,
)
from batchmill.limits.valkey import ValkeyLimiter
from tests.support.traffic import VirtualClock

MINUTE_US = 60_000_000
names = itertools.count(1)
picks = st.integers(min_value=0, max_value=1_000)
demands = st.builds(Demand, input_tokens=st.integers(0, 700), output_tokens=st.integers(0, 700))


class Machine(RuleBasedStateMachine):
    """Three buckets, one of them with limits yet to be learned, and a clock."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = VirtualClock()
        name = f"machine-{next(names)}"
        self.buckets = (
            Bucket(name=name, limits=Limits(requests=200, tokens=20_000)),
            Bucket(
                name=f"{name}/narrow", limits=Limits(input_tokens=3_000, output_tokens=4_000, concurrency=9)
            ),
            Bucket(name=f"{name}/unknown"),
        )
        self.memory = MemoryLimiter(self.clock)
        self.shared = ValkeyLimiter(Redis.from_url(self.url), self.clock, self.clock.now_us)
        self.out: dict[str, Ask] = {}
        self.counted: dict[str, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
        self.lease_us: dict[str, int] = {}
        self.closed_us: dict[str, int] = defaultdict(int)
        self.numbers = itertools.count(1)
        self.places: dict[str, dict[str, int]] = {}
        for bucket in self.buckets:  # so that both know of each from the same moment on
            self._admit([Ask(permit=f"first-{bucket.name}", buckets=(bucket,), demand=Demand())])

    @rule(us=st.sampled_from([1, 1_000, 90_000, 700_000, 5_000_000, 31_000_000]), times=st.integers(1, 4))
    def wait(self, us: int, times: int) -> None:
        """Time passes."""
        self.clock.now_s = (self.clock.now_us() + us * times) / 1_000_000

    @rule(
        wanted=st.lists(st.tuples(st.sampled_from([(0,), (0, 1), (1,), (0, 2), (2,)]), demands), max_size=12)
    )
    def ask(self, wanted: list[tuple[tuple[int, ...], Demand]]) -> None:
        """Some calls want to leave."""
        asks = [
            Ask(
                permit=f"p{next(self.numbers)}", buckets=tuple(self.buckets[i] for i in places), demand=demand
            )
            for places, demand in wanted
        ]
        self._admit(asks)

    @precondition(lambda self: self.out)
    @rule(pick=picks, part=st.integers(0, 4), retry_s=st.sampled_from([None, None, None, 0.0, 2.5]))
    def settle(self, pick: int, part: int, retry_s: float | None) -> None:
        """A call ends, with a part of the tokens that were planned, and perhaps refused."""
        ask = self.out.pop(list(self.out)[pick % len(self.out)])
        planned = ask.demand
        actual = Demand(
            input_tokens=planned.input_tokens * part // 4, output_tokens=planned.output_tokens * part // 4
        )
        settlement = Settlement(
            permit=ask.permit, actual=actual, throttled=retry_s is not None, retry_after_s=retry_s
        )
        self._settle(settlement)
        self.lease_us.pop(ask.permit, None)
        for bucket in ask.buckets:
            place = self.places.get(bucket.name, {}).get(ask.permit)
            if place is not None:
                at_us, _ = self.counted[bucket.name][place]
                self.counted[bucket.name][place] = (at_us, actual.costs)
        if retry_s is not None:
            name = ask.buckets[-1].name
            until_us = self.clock.now_us() + round(retry_s * 1_000_000)
            self.closed_us[name] = max(self.closed_us[name], until_us)

    @precondition(lambda self: self.out)
    @rule(
        pick=picks,
        dimension=st.sampled_from(RATES),
        limit=st.integers(1_000, 30_000),
        remaining=st.one_of(st.none(), st.integers(0, 1_000)),
        reset_s=st.one_of(st.none(), st.integers(0, 70)),
    )
    def learn(
        self, pick: int, dimension: Dimension, limit: int, remaining: int | None, reset_s: int | None
    ) -> None:
        """A call ends whose headers tell a limit."""
        ask = self.out.pop(list(self.out)[pick % len(self.out)])
        quota = Quota(dimension=dimension, limit=limit, remaining=remaining, reset_s=reset_s)
        self._settle(Settlement(permit=ask.permit, quotas=(quota,)))
        self.lease_us.pop(ask.permit, None)

    @precondition(lambda self: self.out)
    @rule()
    def renew(self) -> None:
        """The holder says that it lives."""
        self.runner.run(self.memory.renew(list(self.out)))
        self.runner.run(self.shared.renew(list(self.out)))
        for permit, ask in self.out.items():
            if self.buckets[1] in ask.buckets:
                self.lease_us[permit] = self.clock.now_us() + round(LEASE_S * 1_000_000)

    @invariant()
    def no_minute_holds_too_much(self) -> None:
        """By definition: all that counts from less than a minute before any call is within the limit."""
        for bucket in self.buckets:
            for end_us, _ in self.counted[bucket.name]:
                held = [
                    costs
                    for at_us, costs in self.counted[bucket.name]
                    if end_us - MINUTE_US < at_us <= end_us
                ]
                for place, dimension in enumerate(RATES):
                    limit = bucket.limits.of(dimension)
                    assert limit is None or sum(costs[place] for costs in held) <= limit

    @invariant()
    def no_more_at_once_than_slots(self) -> None:
        """Leases that have not run out are no more than the limit."""
        now_us = self.clock.now_us()
        assert sum(until_us > now_us for until_us in self.lease_us.values()) <= 9

    def teardown(self) -> None:
        """Close the connection."""
        self.runner.run(self.shared.close())
        self.runner.close()

    def _admit(self, asks: list[Ask]) -> None:
        answers = self.runner.run(self.memory.admit(asks))
        shared = self.runner.run(self.shared.admit(asks))
        assert [told(answer) for answer in answers] == [told(answer) for answer in shared]
        now_us = self.clock.now_us()
        for ask, answer in zip(asks, answers, strict=True):
            if answer.granted:
                start_us = now_us + round(answer.starts_in_s * 1_000_000)
                self._count(ask, start_us)

    def _count(self, ask: Ask, start_us: int) -> None:
        self.out[ask.permit] = ask
        for bucket in ask.buckets:
            assert start_us >= self.closed_us[bucket.name], "a call left while its bucket was closed"
            self.places.setdefault(bucket.name, {})[ask.permit] = len(self.counted[bucket.name])
            self.counted[bucket.name].append((start_us, ask.demand.costs))
        if self.buckets[1] in ask.buckets:
            self.lease_us[ask.permit] = start_us + round(LEASE_S * 1_000_000)

    def _settle(self, settlement: Settlement) -> None:
        self.runner.run(self.memory.settle([settlement]))
        self.runner.run(self.shared.settle([settlement]))


def told(answer: Admission) -> tuple[bool, bool, float, float, str]:
    """All of an answer but the local moment, which goes by an estimate of the server's clock."""
    return answer.granted, answer.never, answer.starts_in_s, answer.retry_after_s, answer.limit


@pytest.mark.timeout(600)
def test_memory_and_valkey_say_the_same(valkey_url: str) -> None:
    """Whatever happens in whatever order, the answers are the same to the microsecond, and within every limit."""
    Machine.url = valkey_url
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )
