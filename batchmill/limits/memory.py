"""The limiter of one process, in its memory."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from batchmill.limits.admission import LEASE_US, Answer, InPlay, answer
from batchmill.limits.model import TOLD, Admission, Ask, Bucket, Dimension, Limits, Settlement
from batchmill.limits.permits import NOT_COUNTED, Closing, Permit, Permits, Report
from batchmill.limits.state import CONCURRENCY, BucketState, Others
from batchmill.limits.window import US_PER_S

NEVER: Final = Admission(granted=False, never=True)
LIMITS: Final = (*(dimension.value for dimension in Dimension), TOLD)
"""What calls wait for, by number."""


class MemoryLimiter:
    """Counts for this process alone.

    A bucket that is new takes it that its limits have just been used up: an earlier process may have done so.

    Args:
        clock: That of the event loop, in seconds.
        share: How many processes divide the limits between them. A call larger than one's part goes when nothing
            else counts; then all of them together may pass the limit.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, share: int = 1) -> None:
        self._clock = clock
        self._share = share
        self._states: dict[str, BucketState] = {}
        self._leases: dict[str, dict[str, int]] = {}
        self._explicit: dict[str, list[int]] = {}
        self._largest: dict[str, tuple[int, ...]] = {}
        self._learned: dict[str, Sequence[int]] = {}
        self._has_forgotten = False
        self.permits = Permits()

    async def admit(self, asks: Sequence[Ask]) -> list[Admission]:
        """Answer each ask, in their order; what is behind another in the same bucket does not pass it."""
        now_us, play = self._now_us(), dict[str, InPlay]()
        return [self._admit(ask, play, now_us) for ask in asks]

    def lets_through(self, buckets: Sequence[Bucket]) -> bool:
        """Whether nothing limits a call in these buckets."""
        return not any(bucket.limits or self._is_held(bucket.name) for bucket in buckets)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Give slots back, and learn from how calls ended. A permit that is not out is passed over."""
        self.apply(self.permits.take(settlements))

    async def renew(self, permits: Collection[str]) -> None:
        """Keep the slots of calls still out for another lease."""
        self.hold(self.permits.asks(permits))

    def divide(self, among: int) -> None:
        """From now on so many processes divide the limits between them."""
        self._share = among
        for state in self._states.values():
            state.share = among

    async def close(self) -> None:
        """Nothing to let go of."""

    def hold(self, asks: Iterable[Ask]) -> None:
        """Hold the slots of calls for another lease, whoever let them through."""
        now_us = self._now_us()
        for ask in asks:
            for bucket in ask.buckets:
                if self._in_play(bucket, now_us).limits[CONCURRENCY]:
                    self._leases[bucket.name][ask.permit] = now_us + LEASE_US

    def apply(self, closings: Iterable[Closing]) -> None:
        """Count what the ends of calls told."""
        now_us = self._now_us()
        for closing in closings:
            self._apply(closing, now_us)

    def know(self, learned: Mapping[str, Sequence[int]]) -> None:
        """Take over limits that providers named, by bucket and dimension; 0 for unknown."""
        for name, limits in learned.items():
            self._learned[name] = limits
            if name in self._states:
                self._states[name].learned = [*limits]

    def forget(self) -> None:
        """Take it from now on that every bucket has just been used up, by whomever."""
        self._has_forgotten = True
        for name in self._states:
            self._begin(name, self._now_us(), seen=True)

    def _is_held(self, name: str) -> bool:
        """Whether a bucket has learned of a limit, or was told to wait."""
        state = self._states.get(name)
        return name in self._learned or (
            state is not None and (any(state.learned) or state.closed_until_us > self._now_us())
        )

    def _now_us(self) -> int:
        return int(self._clock() * US_PER_S)

    def _admit(self, ask: Ask, play: dict[str, InPlay], now_us: int) -> Admission:
        costs = ask.demand.costs
        for bucket in ask.buckets:
            self._largest[bucket.name] = tuple(map(max, self._largest.get(bucket.name, costs), costs))
            if bucket.name not in play:
                play[bucket.name] = self._in_play(bucket, now_us)
        buckets = [play[bucket.name] for bucket in ask.buckets]
        found = answer(buckets, ask.permit, costs, now_us)
        if found.start_us is not None:
            used = [
                tuple(bucket.state.window.used) if any(bucket.limits[:CONCURRENCY]) else NOT_COUNTED
                for bucket in buckets
            ]
            self.permits.keep(Permit(ask=ask, start_us=found.start_us, used=used))
        return admission_of(found, now_us, now_us / US_PER_S)

    def _in_play(self, bucket: Bucket, now_us: int) -> InPlay:
        state = self._state(bucket, now_us)
        leases = self._leases[bucket.name]
        for permit in [permit for permit, until_us in leases.items() if until_us <= now_us]:
            del leases[permit]
        return InPlay(state=state, limits=state.limits(self._explicit[bucket.name]), leases=leases)

    def _state(self, bucket: Bucket, now_us: int) -> BucketState:
        self._explicit[bucket.name] = in_order(bucket.limits)
        state = self._states.get(bucket.name)
        if state is None:
            state = self._states[bucket.name] = BucketState(share=self._share)
            state.learned = [*self._learned.get(bucket.name, state.learned)]
            self._leases[bucket.name] = {}
            self._begin(bucket.name, now_us, seen=self._has_forgotten)
        state.catch_up(now_us)
        return state

    def _begin(self, name: str, now_us: int, *, seen: bool) -> None:
        state = self._states[name]
        largest = self._largest.get(name, (0, 0, 0, 0))
        state.begin(now_us, state.limits(self._explicit[name]), largest, seen=seen)

    def _apply(self, closing: Closing, now_us: int) -> None:
        permit, buckets = closing.permit, closing.permit.ask.buckets
        start_us = permit.start_us or now_us
        for bucket in buckets:
            self._leases.get(bucket.name, {}).pop(permit.ask.permit, None)
            state = self._states.get(bucket.name)
            if state is not None:
                state.correct(start_us, closing.more, state.limits(self._explicit[bucket.name]))
        if closing.throttled is not None:
            self._state(buckets[closing.throttled], now_us).throttle(now_us, start_us, closing.retry_us)
        for report in closing.reports:
            self._learn(buckets[report.place], report, start_us, now_us)

    def _learn(self, bucket: Bucket, report: Report, start_us: int, now_us: int) -> None:
        state = self._state(bucket, now_us)
        state.learn(now_us, report.dimension, report.limit, self._explicit[bucket.name])
        if report.beyond is not None:
            others = Others(amount=report.beyond, at_us=start_us, until_us=report.until_us)
            state.note_others(report.dimension, others, report.limit)


def admission_of(found: Answer, now_us: int, now_s: float) -> Admission:
    """An answer in seconds, its start on the clock that says `now_s` at `now_us`."""
    limit = "" if found.by is None else LIMITS[found.by]
    if found.start_us is not None:
        starts_in_s = (found.start_us - now_us) / US_PER_S
        return Admission(granted=True, starts_in_s=starts_in_s, starts_at_s=now_s + starts_in_s, limit=limit)
    if found.retry_us is None:
        return NEVER
    return Admission(granted=False, retry_after_s=found.retry_us / US_PER_S, limit=limit)


def in_order(limits: Limits) -> list[int]:
    """Limits by dimension, concurrency last; 0 for unknown."""
    return [limits.of(dimension) or 0 for dimension in Dimension]
