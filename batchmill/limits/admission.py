"""One call and all its buckets: let through by every one of them, or by none."""

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from batchmill.limits.state import CONCURRENCY, EVERY_RATE, HORIZON_US, BucketState, Turn
from batchmill.limits.window import US_PER_S

LEASE_US: Final = 15 * US_PER_S
SLOT_POLL_US: Final = US_PER_S // 10
"""When to ask again for a slot of the concurrency, which may come back at any time."""


@dataclass(slots=True, kw_only=True)
class InPlay:
    """A bucket while asks are answered.

    Attributes:
        limits: In force, by dimension, concurrency last; 0 for none.
        leases: When each slot taken comes back by itself, by permit.
        line_us: When all of this very list that could not go would have gone.
    """

    state: BucketState
    limits: Sequence[int]
    leases: MutableMapping[str, int] = field(default_factory=dict)
    line_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """When a call leaves, or when to ask again; neither when it never can.

    Attributes:
        by: What it waits for: a dimension, or `TOLD`; None when it need not wait.
    """

    start_us: int | None = None
    retry_us: int | None = None
    by: int | None = None


def answer(buckets: Sequence[InPlay], permit: str, costs: Sequence[int], now_us: int) -> Answer:
    """Answer one ask, and count it everywhere when it is granted."""
    if any(0 < bucket.limits[d] < costs[d] for bucket in buckets for d in EVERY_RATE):
        return Answer()
    if any(_has_no_slot(bucket, permit) for bucket in buckets):
        return Answer(retry_us=SLOT_POLL_US, by=CONCURRENCY)
    turn, last = _find_turn(buckets, costs, now_us)
    if turn.at_us > now_us + HORIZON_US:
        return Answer(retry_us=_refuse(last, turn, costs, now_us) - HORIZON_US - now_us, by=turn.by)
    for bucket in buckets:
        bucket.state.take(now_us, turn.at_us, costs, bucket.limits)
        if bucket.limits[CONCURRENCY]:
            bucket.leases[permit] = turn.at_us + LEASE_US
    return Answer(start_us=turn.at_us, by=turn.by)


def _refuse(waited_for: InPlay | None, turn: Turn, costs: Sequence[int], now_us: int) -> int:
    """When a call that could not go would go, if all of this list before it went first."""
    if waited_for is None:
        return turn.at_us
    waited_for.state.stand_in_line(turn, costs)
    at_us = max(turn.at_us, waited_for.line_us)
    waited_for.line_us = waited_for.state.after_us(now_us, at_us, costs, waited_for.limits)
    return at_us


def _has_no_slot(bucket: InPlay, permit: str) -> bool:
    most = bucket.limits[CONCURRENCY] and max(1, bucket.limits[CONCURRENCY] // bucket.state.share)
    return bool(most) and len(bucket.leases) >= most and permit not in bucket.leases


def _find_turn(buckets: Sequence[InPlay], costs: Sequence[int], now_us: int) -> tuple[Turn, InPlay | None]:
    """The first moment that suits all, and whom it waits for."""
    turn, last = Turn(at_us=now_us), None
    for bucket in buckets:
        if bucket.limits[CONCURRENCY] and bucket.state.slots_from_us > turn.at_us:
            turn, last = Turn(at_us=bucket.state.slots_from_us, by=CONCURRENCY), bucket
    settled = 0
    while settled < len(buckets):
        settled = 0
        for bucket in buckets:
            found = bucket.state.turn(now_us, turn.at_us, costs, bucket.limits)
            if found.at_us > turn.at_us:
                turn, last = found, bucket
            else:
                settled += 1
    return turn, last
