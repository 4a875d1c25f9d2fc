"""The limiter of one process, in its memory."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from batchmill.limits.admission import LEASE_US, Answer, InPlay, answer
from batchmill.limits.model import Admission, Ask, Bucket, Dimension, Limits, Settlement
from batchmill.limits.permits import Closing, Permit, Permits, Report
from batchmill.limits.state import BucketState, Others
from batchmill.limits.window import US_PER_S

NEVER: Final = Admission(granted=False, never=True)


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
        self._permits = Permits()
        self._largest: dict[str, tuple[int, ...]] = {}

    def __contains__(self, permit: object) -> bool:
        return permit in self._permits

    async def admit(self, asks: Sequence[Ask]) -> list[Admission]:
        """Answer each ask, in their order; what is behind another in the same bucket does not pass it."""
        now_us, play = self._now_us(), dict[str, InPlay]()
        return [self._admit(ask, play, now_us) for ask in asks]

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Give slots back, and learn from how calls ended. A permit that is not out is passed over."""
        for settlement in settlements:
            closing = self._permits.close(settlement)
            if closing is not None:
                self.apply(closing)

    async def renew(self, permits: Collection[str]) -> None:
        """Keep the slots of calls still out for another lease."""
        until_us = self._now_us() + LEASE_US
        for name in permits:
            for bucket in self._permits[name].ask.buckets if name in self._permits else ():
                if bucket.name in self._leases:
                    self._leases[bucket.name][name] = until_us

    async def close(self) -> None:
        """Nothing to let go of."""

    def apply(self, closing: Closing) -> None:
        """Count what the end of a call told, also of one that another limiter let through."""
        now_us, permit = self._now_us(), closing.permit
        for bucket in permit.ask.buckets:
            self._leases.get(bucket.name, {}).pop(permit.ask.permit, None)
            state = self._states.get(bucket.name)
            if state is not None:
                state.correct(permit.start_us, closing.more, state.limits(_in_order(bucket.limits)))
        if closing.throttled is not None:
            state = self._state(permit.ask.buckets[closing.throttled], now_us)
            state.throttle(now_us, permit.start_us, closing.retry_us)
        for report in closing.reports:
            self._learn(permit.ask.buckets[report.place], report, permit.start_us, now_us)

    def forget(self) -> None:
        """Take it from now on that every bucket has just been used up, by whomever."""
        now_us = self._now_us()
        for name, state in self._states.items():
            state.begin(now_us, state.limits([0] * 5), self._largest.get(name, [0] * 4), seen=True)

    def _now_us(self) -> int:
        return int(self._clock() * US_PER_S)

    def _admit(self, ask: Ask, play: dict[str, InPlay], now_us: int) -> Admission:
        for bucket in ask.buckets:
            if bucket.name not in play:
                play[bucket.name] = self._in_play(bucket, now_us)
        buckets = [play[bucket.name] for bucket in ask.buckets]
        found = answer(buckets, ask.permit, ask.demand.costs, now_us)
        if found.start_us is not None:
            used = [tuple(bucket.state.window.used) for bucket in buckets]
            self._permits.keep(Permit(ask=ask, start_us=found.start_us, used=used))
        return admission_of(found, now_us, now_us / US_PER_S)

    def _in_play(self, bucket: Bucket, now_us: int) -> InPlay:
        state = self._state(bucket, now_us)
        leases = self._leases.setdefault(bucket.name, {})
        for permit in [permit for permit, until_us in leases.items() if until_us <= now_us]:
            del leases[permit]
        return InPlay(state=state, limits=state.limits(_in_order(bucket.limits)), leases=leases)

    def _state(self, bucket: Bucket, now_us: int) -> BucketState:
        state = self._states.get(bucket.name)
        if state is None:
            state = self._states[bucket.name] = BucketState(share=self._share)
            state.begin(now_us, _in_order(bucket.limits), [0] * 4, seen=False)
        state.catch_up(now_us)
        return state

    def _learn(self, bucket: Bucket, report: Report, start_us: int, now_us: int) -> None:
        state = self._state(bucket, now_us)
        state.learn(now_us, report.dimension, report.limit, _in_order(bucket.limits))
        if report.beyond is not None:
            others = Others(amount=report.beyond, at_us=start_us, until_us=report.until_us)
            state.note_others(report.dimension, others, report.limit)


def admission_of(found: Answer, now_us: int, now_s: float) -> Admission:
    """An answer in seconds, its start on the clock that says `now_s` at `now_us`."""
    if found.start_us is not None:
        starts_in_s = (found.start_us - now_us) / US_PER_S
        return Admission(granted=True, starts_in_s=starts_in_s, starts_at_s=now_s + starts_in_s)
    if found.retry_us is None:
        return NEVER
    return Admission(granted=False, retry_after_s=found.retry_us / US_PER_S)


def _in_order(limits: Limits) -> list[int]:
    return [limits.of(dimension) or 0 for dimension in Dimension]
