"""The limiter that all processes share: its state is in Valkey or Redis, one script answers for all of it at once."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from batchmill.limits.admission import Answer
from batchmill.limits.clock import ServerClock
from batchmill.limits.memory import admission_of, in_order
from batchmill.limits.model import Admission, Ask, Bucket, Settlement
from batchmill.limits.permits import Closing, Permit, Permits

LOOK_EVERY_S: Final = 1.0
"""How often it is looked whether others have learned a limit of what we know no limit of."""

MOST_ASKS: Final = 256
"""In one call of the script, which the server runs alone."""

PREFIX: Final = "batchmill:{limits}"
"""In braces is what a cluster places keys by: all of them on one node, for they change together."""

_SCRIPT: Final = resources.files(__package__).joinpath("limiter.lua").read_text("utf-8")
_EVERYTHING_US: Final = 2**52
"""Later than any state was made."""
_NO_LIMITS: Final = (0, 0, 0, 0, 0)


@dataclass(slots=True)
class _Known:
    """What this process knows of a bucket, whatever becomes of the server's memory.

    Attributes:
        learned: Limits that the provider named, by dimension; 0 for unknown.
        largest: The most that a call asked for, by dimension.
        is_watched: The server holds it to something.
        looked_s: When the server was last asked about it; None before the first time.
    """

    learned: tuple[int, ...] = _NO_LIMITS
    largest: tuple[int, ...] = (0, 0, 0, 0)
    is_watched: bool = False
    looked_s: float | None = None


class _Message:
    """What the script is asked, its buckets numbered from 1."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.closings: list[Any] = []
        self.renewals: list[Any] = []
        self.asks: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, bucket: Bucket) -> int:
        """The number of a bucket."""
        place = self._places.setdefault(bucket.name, len(self._places) + 1)
        self.buckets.setdefault(bucket.name, bucket)
        return place

    def places(self, buckets: Sequence[Bucket]) -> list[int]:
        """The numbers of a call's buckets."""
        return [self.place(bucket) for bucket in buckets]


class ValkeyLimiter:
    """Counts for every process that uses the same server.

    What is not limited as far as anybody knows is let through without asking, and looked up every `LOOK_EVERY_S`.

    Weakness: when the server has lost everything and a process that never used a bucket is the first to do so, it
    cannot know that there was one; some seconds too few are then held back, and a minute may hold a few per cent
    too much. Of two servers' time only the one in use counts: a fail-over to one whose clock is behind waits for it.

    Raises:
        RedisError: From every method: the server cannot be reached, or does not do as it should.

    Args:
        client: Closed with the limiter.
        clock: That of the event loop, in seconds.
        now_us: What the script takes for now; None for the server's own time.
    """

    def __init__(
        self,
        client: "Redis",
        clock: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._now_us = now_us
        self._server_clock = ServerClock()
        self._known: dict[str, _Known] = {}
        self.permits = Permits()
        self._lost_us = 0
        self._sha = ""

    async def admit(self, asks: Sequence[Ask]) -> list[Admission]:
        """Answer each ask, in their order; what is behind another in the same bucket does not pass it."""
        now_s = self._clock()
        answers, limited = dict[str, Admission](), list[Ask]()
        for ask in asks:
            if self._are_limited(ask.buckets, now_s):
                limited.append(ask)
            else:
                answers[ask.permit] = self._let_through(ask, now_s)
        for first in range(0, len(limited), MOST_ASKS):
            some = limited[first : first + MOST_ASKS]
            answers |= zip([ask.permit for ask in some], await self._ask(some), strict=True)
        return [answers[ask.permit] for ask in asks]

    def lets_through(self, buckets: Sequence[Bucket]) -> bool:
        """Whether nothing limits a call in these buckets, as it was when the server was last asked, just now."""
        return not self._are_limited(buckets, self._clock())

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Give slots back, and learn from how calls ended. A permit that is not out is passed over."""
        await self.apply(self.permits.take(settlements))

    async def renew(self, permits: Collection[str]) -> None:
        """Keep the slots of calls still out for another lease."""
        await self.hold(self.permits.asks(permits))

    def divide(self, among: int) -> None:
        """Nothing to divide: it counts for all."""

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def hold(self, asks: Sequence[Ask]) -> None:
        """Hold the slots of calls for another lease, whoever let them through."""
        message, held = _Message(), dict[int, list[str]]()
        for ask in asks:
            for bucket in ask.buckets:
                if self._is_known(bucket):
                    held.setdefault(message.place(bucket), []).append(ask.permit)
        message.renewals = [[place, names] for place, names in held.items()]
        if held:
            await self._send(message)

    async def apply(self, closings: Sequence[Closing]) -> None:
        """Count what the ends of calls told."""
        message = _Message()
        for closing in closings:
            if closing.tells_something or any(
                self._is_known(bucket) for bucket in closing.permit.ask.buckets
            ):
                message.closings.append(_closing(message, closing))
        if message.closings:
            await self._send(message)

    def forget(self) -> None:
        """Calls may leave uncounted from now on: buckets older than this are taken as used up when next seen."""
        self._lost_us = self._server_clock.server_us(self._clock()) or _EVERYTHING_US

    def learned(self) -> Mapping[str, Sequence[int]]:
        """The limits that providers named, by bucket and dimension; 0 for unknown."""
        return {name: known.learned for name, known in self._known.items() if any(known.learned)}

    def _is_known(self, bucket: Bucket) -> bool:
        known = self._known.get(bucket.name)
        return bool(bucket.limits) or (known is not None and known.is_watched)

    def _are_limited(self, buckets: Sequence[Bucket], now_s: float) -> bool:
        """Whether the server has to be asked: because of a limit, or to see whether there is one."""
        for bucket in buckets:
            known = self._known.get(bucket.name)
            if bucket.limits or known is None or known.is_watched or known.looked_s is None:
                return True
            if now_s - known.looked_s >= LOOK_EVERY_S:
                return True
        return False

    def _let_through(self, ask: Ask, now_s: float) -> Admission:
        start_us = self._server_clock.server_us(now_s) or 0
        self.permits.keep(Permit(ask=ask, start_us=start_us, used=()))
        return Admission(granted=True, starts_at_s=now_s)

    async def _ask(self, asks: Sequence[Ask]) -> list[Admission]:
        message = _Message()
        for ask in asks:
            _, tokens, inputs, outputs = costs = ask.demand.costs
            for bucket in ask.buckets:
                known = self._known.setdefault(bucket.name, _Known())
                known.largest = tuple(map(max, known.largest, costs))
            message.asks.append([ask.permit, message.places(ask.buckets), tokens, inputs, outputs])
        now_us, numbers = await self._send(message)
        local_s = self._server_clock.local_s(now_us)
        now_s = self._clock() if local_s is None else local_s
        return [self._admission(ask, numbers, now_us, now_s) for ask in asks]

    def _admission(self, ask: Ask, numbers: Iterator[int], now_us: int, now_s: float) -> Admission:
        code, wait_us, waits_for = next(numbers), next(numbers), next(numbers)
        by = waits_for - 1 if waits_for else None
        if code < 0:
            return admission_of(Answer(), now_us, now_s)
        if code == 0:
            return admission_of(Answer(retry_us=wait_us, by=by), now_us, now_s)
        start_us = now_us + wait_us
        used = [(next(numbers), next(numbers), next(numbers), next(numbers)) for _ in ask.buckets]
        self.permits.keep(Permit(ask=ask, start_us=start_us, used=used))
        return admission_of(Answer(start_us=start_us, by=by), now_us, now_s)

    async def _send(self, message: _Message) -> tuple[int, Iterator[int]]:
        """Run the script; its now, and its answers to the asks one number after another."""
        keys = [f"{PREFIX}:{name}{end}" for name in message.buckets for end in ("", ":slots")]
        sent_s = self._clock()
        now_us, found, numbers = await self._run(keys, self._encoded(message))
        received_s = self._clock()
        if self._lost_us == _EVERYTHING_US:
            self._lost_us = now_us
        self._server_clock.sample(sent_s=sent_s, server_us=now_us, received_s=received_s)
        for name, (is_watched, *learned) in zip(message.buckets, found, strict=True):
            known = self._known.setdefault(name, _Known())
            known.is_watched, known.looked_s = bool(is_watched), received_s
            known.learned = tuple(new or old for new, old in zip(learned, known.learned, strict=True))
        return now_us, iter(numbers)

    async def _run(self, keys: Sequence[str], argument: bytes) -> Any:
        # Not by redis-py's Script: that one asks whether the script is there before it loads it, one trip more.
        if self._sha:
            try:
                return await self._client.evalsha(self._sha, len(keys), *keys, argument)
            except NoScriptError:
                pass
        self._sha = await self._client.script_load(_SCRIPT)
        return await self._client.evalsha(self._sha, len(keys), *keys, argument)

    def _encoded(self, message: _Message) -> bytes:
        return orjson.dumps(
            {
                "now": 0 if self._now_us is None else self._now_us(),
                "lost": self._lost_us,
                "buckets": [self._bucket(bucket) for bucket in message.buckets.values()],
                "closings": message.closings,
                "renewals": message.renewals,
                "asks": message.asks,
            }
        )

    def _bucket(self, bucket: Bucket) -> list[Any]:
        known = self._known.setdefault(bucket.name, _Known())
        has_been_seen = known.is_watched and known.looked_s is not None
        return [in_order(bucket.limits), known.learned, known.largest, int(has_been_seen)]


def _closing(message: _Message, closing: Closing) -> list[Any]:
    permit = closing.permit
    places = message.places(permit.ask.buckets)
    return [
        permit.ask.permit,
        permit.start_us,
        places,
        closing.more,
        0 if closing.throttled is None else places[closing.throttled],
        -1 if closing.retry_us is None else closing.retry_us,
        [
            [places[told.place], told.dimension + 1, told.limit, told.beyond, told.until_us]
            for told in closing.reports
        ],
    ]
