"""The permits a process has out: what was granted, and what settling them says about their buckets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from batchmill.limits.model import RATES, Ask, Dimension, Quota, Settlement
from batchmill.limits.window import SPAN_US, US_PER_S

ORDER: Final = {dimension: place for place, dimension in enumerate((*RATES, Dimension.CONCURRENCY))}


NOT_COUNTED: Final = (-1, -1, -1, -1)
"""What stands for the use of a bucket that had no limit when a call was let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """A call that may leave, or has left.

    Attributes:
        start_us: When it counts from; 0 where that is not known.
        used: For each bucket what our calls came to with it, by dimension; empty where nobody asked.
    """

    ask: Ask
    start_us: int
    used: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a provider said of a limit, beside what we knew when the call was let through.

    Attributes:
        place: Which of the call's buckets.
        dimension: Its place in `ORDER`.
        beyond: What the provider counted and we did not, below 0 for less; None when one of the two is not known.
        until_us: When the provider will have forgotten it.
    """

    place: int
    dimension: int
    limit: int
    beyond: int | None
    until_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """A settlement, worked out.

    Attributes:
        more: What was counted in the end beyond what was planned, by dimension.
        throttled: Which of the buckets refused the call; None for none.
    """

    permit: Permit
    more: tuple[int, int, int, int]
    throttled: int | None
    retry_us: int | None
    reports: tuple[Report, ...]

    @property
    def tells_something(self) -> bool:
        """Whether there is more to it than a slot given back."""
        return any(self.more) or self.throttled is not None or bool(self.reports)

    def overheard(self) -> "Closing":
        """What of it another limiter can make use of, whose clock and counts are its own."""
        return replace(
            self,
            permit=replace(self.permit, start_us=0),
            more=(0, 0, 0, 0),
            reports=tuple(replace(report, beyond=None) for report in self.reports),
        )


class Permits:
    """Those out. Grows with the calls at once, for each is taken back when it is settled."""

    def __init__(self) -> None:
        self._out: dict[str, Permit] = {}

    def keep(self, permit: Permit) -> None:
        """Remember a permit that was granted."""
        self._out[permit.ask.permit] = permit

    def drop(self, names: Iterable[str]) -> None:
        """Forget permits without a word."""
        for name in names:
            self._out.pop(name, None)

    def take(self, settlements: Iterable[Settlement]) -> list[Closing]:
        """Forget permits that are settled, and say what their ends mean; what is not out is passed over."""
        found = [(self._out.pop(settlement.permit, None), settlement) for settlement in settlements]
        return [closing_of(permit, settlement) for permit, settlement in found if permit is not None]

    def asks(self, names: Iterable[str] | None = None) -> list[Ask]:
        """What was granted, of all that are out or of those named."""
        wanted = self._out if names is None else names
        return [self._out[name].ask for name in wanted if name in self._out]


def closing_of(permit: Permit, settlement: Settlement) -> Closing:
    """What a settlement means for the buckets of its permit."""
    planned = permit.ask.demand
    actual = (settlement.actual or planned).costs
    first, tokens, inputs, outputs = (a - p for a, p in zip(actual, planned.costs, strict=True))
    retry_s = settlement.retry_after_s
    return Closing(
        permit=permit,
        more=(first, tokens, inputs, outputs),
        throttled=_place_of(permit, settlement.throttled_bucket) if settlement.throttled else None,
        retry_us=None if retry_s is None else max(0, round(retry_s * US_PER_S)),
        reports=tuple(_report(permit, quota) for quota in settlement.quotas if quota.limit > 0),
    )


def _report(permit: Permit, quota: Quota) -> Report:
    place, dimension = _place_of(permit, quota.bucket), ORDER[quota.dimension]
    own = permit.used[place] if permit.used else ()
    beyond = None
    if quota.remaining is not None and dimension < len(RATES) and own and own[dimension] >= 0:
        beyond = max(0, quota.limit - quota.remaining) - own[dimension]
    span_us = SPAN_US if quota.reset_s is None else min(SPAN_US, max(0, round(quota.reset_s * US_PER_S)))
    return Report(
        place=place,
        dimension=dimension,
        limit=quota.limit,
        beyond=beyond,
        until_us=permit.start_us + span_us,
    )


def _place_of(permit: Permit, name: str) -> int:
    names = [bucket.name for bucket in permit.ask.buckets]
    return names.index(name) if name in names else len(names) - 1
