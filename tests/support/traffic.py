"""Traffic in virtual time: workers that ask a limiter for all they have ready, and windows that judge what left."""

import asyncio
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from batchmill.limits.model import Ask, Bucket, Demand, Limiter
from batchmill.sandbox.windows import MOST, NANOS_PER_S, SlidingWindow

Draw = Callable[[random.Random], int]


class VirtualClock:
    """Time that passes when the test says so."""

    def __init__(self, now_s: float = 100_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """Seconds, as the event loop would have them."""
        return self.now_s

    def now_us(self) -> int:
        """The same in microseconds."""
        return int(self.now_s * 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A call that left."""

    at_s: float
    asked_s: float
    tokens: int
    buckets: tuple[Bucket, ...]


@dataclass(slots=True, kw_only=True)
class Worker:
    """Has always so many calls ready, and asks for all of them every so often.

    Attributes:
        tokens: Draws the tokens of a call.
    """

    buckets: tuple[Bucket, ...]
    tokens: Draw
    ready: int = 30
    poll_s: float = 0.2
    waiting: list[tuple[str, int, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens in mid-run."""

    at_s: float
    act: Callable[[], None]


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Runs workers against one limiter."""

    limiter: Limiter
    clock: VirtualClock
    workers: Sequence[Worker]
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    left: list[Left] = field(default_factory=list)

    def run(self, span_s: float, events: Sequence[Event] = ()) -> None:
        """Let time pass, from the clock's now on; events are at seconds from then."""
        asyncio.run(self._run(span_s, sorted(events, key=lambda event: event.at_s)))
        self.left.sort(key=lambda left: left.at_s)

    async def _run(self, span_s: float, events: list[Event]) -> None:
        begin_s, numbers = self.clock.now_s, 0
        turns = [(self.chance.uniform(0, worker.poll_s), n) for n, worker in enumerate(self.workers)]
        heapq.heapify(turns)
        while turns and turns[0][0] < span_s:
            at_s, n = heapq.heappop(turns)
            while events and events[0].at_s <= at_s:
                self.clock.now_s = begin_s + events[0].at_s
                events.pop(0).act()
            self.clock.now_s = begin_s + at_s
            worker = self.workers[n]
            while len(worker.waiting) < worker.ready:
                numbers += 1
                worker.waiting.append((f"{n}-{numbers}", worker.tokens(self.chance), self.clock.now_s))
            await self._ask(worker)
            heapq.heappush(turns, (at_s + worker.poll_s * self.chance.uniform(0.5, 1.5), n))
        await self.limiter.close()

    async def _ask(self, worker: Worker) -> None:
        asks = [
            Ask(permit=name, buckets=worker.buckets, demand=Demand(input_tokens=tokens))
            for name, tokens, _ in worker.waiting
        ]
        answers = await self.limiter.admit(asks)
        for answer, (_, tokens, asked_s) in zip(answers, worker.waiting, strict=True):
            if answer.granted:
                at_s = self.clock.now_s + answer.starts_in_s
                self.left.append(Left(at_s=at_s, asked_s=asked_s, tokens=tokens, buckets=worker.buckets))
        worker.waiting = [
            waiting for answer, waiting in zip(answers, worker.waiting, strict=True) if not answer.granted
        ]

    def of(self, bucket: Bucket) -> list[Left]:
        """What left through a bucket."""
        return [left for left in self.left if bucket in left.buckets]


def most_in(span_s: float, costs: Sequence[tuple[float, int]]) -> int:
    """The most that any sliding span held, of costs at moments."""
    window = SlidingWindow(MOST, round(span_s * NANOS_PER_S))
    for at_s, cost in sorted(costs):
        window.slide_to(round(at_s * NANOS_PER_S))
        window.enter(cost)
    return window.most


def requests(left: Sequence[Left]) -> list[tuple[float, int]]:
    """One for each call."""
    return [(call.at_s, 1) for call in left]


def tokens(left: Sequence[Left]) -> list[tuple[float, int]]:
    """The tokens of each call."""
    return [(call.at_s, call.tokens) for call in left]


def part_used(costs: Sequence[tuple[float, int]], limit: int, begin_s: float, span_s: float) -> float:
    """How much of a limit by the minute was used within a span."""
    return sum(cost for at_s, cost in costs if begin_s <= at_s < begin_s + span_s) / (limit * span_s / 60)
