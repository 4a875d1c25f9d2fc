"""The state of one bucket: its window, its pace, and what the provider said. Pure: every moment is an argument.

Moments are microseconds of one clock, amounts are whole numbers. Two things hold a call back. The *window* keeps any
minute within 99 % of the limit. The *pace* keeps calls apart: requests evenly, at 98 % of the limit and without
bursts, so that a provider who enforces a limit by the second sees none; tokens at 100 %, where a bucket that
fell behind makes up for at most `CREDIT_US`.

Fairness: the first call that a token window refuses is the *head of the line*. Nothing smaller passes it until one as
large as it is was let through, or half a second after its turn. Whoever asks in time with as many tokens gets that
turn, not the very call: a call that was handed back may come again under another name, or not at all.

Weakness: where a limit is no multiple of 60, a provider that rounds each second's part of it down (500 a minute to 8
a second) is faster reached than we pace for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from batchmill.limits.window import SPAN_US, US_PER_S, Window

MINUTE_US: Final = 60 * US_PER_S
HORIZON_US: Final = US_PER_S
CREDIT_US: Final = 2 * US_PER_S
TURN_US: Final = US_PER_S // 2
RECOVERY_US: Final = 5 * US_PER_S
SLOTS_HELD_US: Final = 2 * US_PER_S
CLOSED_US: Final = US_PER_S
"""How long a bucket is closed by a refusal that names no time, at full rate; at half the rate twice as long."""

FULL: Final = 100
LEAST: Final = 5
RECOVERED: Final = 5
REQUEST_PACE: Final = 98
SPREAD: Final = 120
MOST_GAPS: Final = 8

REQUESTS: Final = 0
CONCURRENCY: Final = 4
TOLD: Final = 5
"""What a call waits for that is no limit: the provider has said for how long."""
EVERY_RATE: Final = range(4)
TOKEN_RATES: Final = range(1, 4)


def ceil_div(numerator: int, denominator: int) -> int:
    """The quotient, rounded up."""
    return -(-numerator // denominator)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Who waits at the head of the line: so many tokens of a dimension, and when it is their turn."""

    dimension: int
    cost: int
    at_us: int

    @property
    def until_us(self) -> int:
        """When the turn is over, taken or not."""
        return self.at_us + TURN_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """What the provider counted beyond our own calls: somebody else uses the account."""

    amount: int = 0
    at_us: int = 0
    until_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """When a bucket lets a call leave.

    Attributes:
        full: The dimension whose window it waits for; None when it is the pace.
        by: The dimension it waits for, whether window or pace, or `TOLD`; None when it need not wait.
    """

    at_us: int
    full: int | None = None
    by: int | None = None

    def later(self, at_us: int, by: int) -> "Turn":
        """This one, or a later one that something makes it wait for."""
        return Turn(at_us=at_us, full=self.full, by=by) if at_us > self.at_us else self


@dataclass(slots=True)
class BucketState:
    """One bucket.

    Attributes:
        share: Of how many processes this one is; each has its part of the limits.
        learned: By dimension, concurrency last; 0 for unknown.
        next_us: By dimension, when its pace lets the next call go.
        gaps: Where a call was let go later than requests alone would have: free times before `next_us`.
    """

    share: int = 1
    born_us: int = 0
    slots_from_us: int = 0
    closed_until_us: int = 0
    rate: int = FULL
    halved_us: int = 0
    window: Window = field(default_factory=Window)
    learned: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0])
    next_us: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    gaps: list[tuple[int, int]] = field(default_factory=list)
    head: Head | None = None
    others: list[Others] = field(default_factory=lambda: [Others()] * 4)

    def begin(self, now_us: int, limits: Sequence[int], largest: Sequence[int], *, seen: bool) -> None:
        """Take it that all limits were used up, evenly, over the last minute and the horizon that was promised.

        Args:
            limits: In force, by dimension; 0 for none.
            largest: The most that a call asks for, by dimension.
            seen: There was a state before, and it was lost: a call as large may have left last.
        """
        behind_us = HORIZON_US
        if seen:
            lasts = [
                self._interval_us(d, limits[d], largest[d]) // self.share for d in TOKEN_RATES if limits[d]
            ]
            behind_us += CREDIT_US + max(lasts) if lasts else 0
        self.born_us = now_us
        self.slots_from_us = now_us + SLOTS_HELD_US if seen else now_us
        self.window = Window()
        end_us = now_us + min(behind_us, MINUTE_US)
        mosts = [self._most(limits[d]) if limits[d] else 0 for d in EVERY_RATE]
        for part in range(SPREAD) if any(mosts) else ():
            at_us = end_us - MINUTE_US + (2 * part + 1) * MINUTE_US // (2 * SPREAD)
            self.window.enter(at_us, [m * (part + 1) // SPREAD - m * part // SPREAD for m in mosts])
        self.window.drop(now_us)
        self.next_us = [end_us] * 4
        self.next_us[REQUESTS] += self._interval_us(REQUESTS, limits[REQUESTS], 1) if limits[REQUESTS] else 0
        self.gaps, self.head = [], None

    def limits(self, explicit: Sequence[int]) -> list[int]:
        """Those in force: the owner's, else what was learned."""
        return [given or learned for given, learned in zip(explicit, self.learned, strict=True)]

    def catch_up(self, now_us: int) -> None:
        """Let go of what no longer counts."""
        self.window.drop(now_us)
        if self.rate < FULL:
            steps = max(0, now_us - self.halved_us) // RECOVERY_US
            if self.rate + RECOVERED * steps >= FULL:
                self.rate = FULL
        if self.head and self.head.until_us <= now_us:
            self.head = None
        if self.gaps:
            self.gaps = [gap for gap in self.gaps if gap[1] > now_us]

    def rate_at(self, now_us: int) -> int:
        """Per cent of the full rate: halved by refusals, recovering evenly since the last."""
        if self.rate == FULL:
            return FULL
        return min(FULL, self.rate + RECOVERED * (max(0, now_us - self.halved_us) // RECOVERY_US))

    def turn(self, now_us: int, from_us: int, costs: Sequence[int], limits: Sequence[int]) -> Turn:
        """The first moment from one on at which a call may leave; every cost must be within its limit."""
        rate, full = self.rate_at(now_us), None
        turn = Turn(at_us=from_us).later(self.closed_until_us, TOLD)
        if limits[REQUESTS]:
            interval_us = self._interval_us(REQUESTS, limits[REQUESTS], 1, rate)
            turn = turn.later(self._place_us(turn.at_us, interval_us), REQUESTS)
        for d in TOKEN_RATES:
            if limits[d] and costs[d]:
                turn = turn.later(self.next_us[d] - CREDIT_US, d)
        waits = self._delays_head(turn.at_us, costs, limits, rate)
        if waits and self.head:
            d = self.head.dimension
            turn = turn.later(self.head.at_us + self._interval_us(d, limits[d], self.head.cost, rate), d)
        for d in EVERY_RATE:
            if limits[d] and costs[d]:
                room_us = self._room_us(d, now_us, costs[d], limits[d], waits=waits)
                if room_us > turn.at_us:
                    turn, full = turn.later(room_us, d), d
        return Turn(at_us=turn.at_us, full=full, by=turn.by)

    def take(self, now_us: int, at_us: int, costs: Sequence[int], limits: Sequence[int]) -> None:
        """Count a call that leaves at a moment which `turn` named."""
        rate = self.rate_at(now_us)
        self.window.enter(at_us, costs)
        if limits[REQUESTS]:
            self._take_place(now_us, at_us, self._interval_us(REQUESTS, limits[REQUESTS], 1, rate))
        for d in TOKEN_RATES:
            if limits[d]:
                paced_us = self._interval_us(d, limits[d], costs[d], rate)
                self.next_us[d] = max(self.next_us[d], at_us - CREDIT_US) + paced_us
        if self.head and costs[self.head.dimension] >= self.head.cost:
            self.head = None

    def stand_in_line(self, turn: Turn, costs: Sequence[int]) -> None:
        """Remember a call that its turn is too late for, if none waits already."""
        if turn.full is None or turn.full == REQUESTS:
            return
        cost = costs[turn.full]
        if self.head is None or (self.head.dimension, self.head.cost) == (turn.full, cost):
            self.head = Head(dimension=turn.full, cost=cost, at_us=turn.at_us)

    def after_us(self, now_us: int, at_us: int, costs: Sequence[int], limits: Sequence[int]) -> int:
        """When the next one would go, if one went then."""
        rate = self.rate_at(now_us)
        return at_us + max(
            (self._interval_us(d, limits[d], costs[d], rate) for d in EVERY_RATE if limits[d]), default=0
        )

    def correct(self, at_us: int, more: Sequence[int], limits: Sequence[int]) -> None:
        """Count more or less from a moment on than was planned; what was forgotten is not given back."""
        if at_us < self.born_us:
            more = [max(0, change) for change in more]
        self.window.correct(at_us, more)
        for d in TOKEN_RATES:
            if limits[d] and more[d]:
                self.next_us[d] += self._interval_us(d, limits[d], more[d])

    def throttle(self, now_us: int, sent_us: int, retry_us: int | None) -> None:
        """Close for a time, and halve the rate; a call sent before it was last halved tells nothing new."""
        if retry_us is None:
            retry_us = CLOSED_US * FULL // self.rate_at(now_us)
        self.closed_until_us = max(self.closed_until_us, now_us + retry_us)
        if now_us >= self.halved_us + US_PER_S and sent_us >= self.halved_us:
            self.rate = max(LEAST, self.rate_at(now_us) // 2)
            self.halved_us = now_us

    def learn(self, now_us: int, dimension: int, limit: int, explicit: Sequence[int]) -> None:
        """Know a limit that the provider named. One that is new holds as if it had just been used up, unless all of
        the last minute was counted."""
        before = self.limits(explicit)
        self.learned[dimension] = limit
        was_counted = any(before[:CONCURRENCY]) and self.born_us + SPAN_US <= now_us
        if not before[dimension] and dimension != CONCURRENCY and not was_counted:
            self.begin(now_us, self.limits(explicit), [0] * 4, seen=False)

    def note_others(self, dimension: int, others: Others, limit: int) -> None:
        """Count what the provider counted beyond ours, as of the latest call that tells; a hundredth is no news."""
        if others.at_us >= self.others[dimension].at_us:
            amount = max(0, others.amount - limit // 100)
            self.others[dimension] = Others(amount=amount, at_us=others.at_us, until_us=others.until_us)

    def _most(self, limit: int) -> int:
        return max(1, (limit - limit // 100) // self.share)

    def _interval_us(self, dimension: int, limit: int, cost: int, rate: int = FULL) -> int:
        if dimension == REQUESTS:
            return ceil_div(MINUTE_US * FULL * FULL * self.share, REQUEST_PACE * limit * rate)
        return ceil_div(cost * MINUTE_US * FULL * self.share, limit * rate)

    def _place_us(self, from_us: int, interval_us: int) -> int:
        for begin_us, end_us in self.gaps:
            at_us = max(from_us, begin_us)
            if at_us + interval_us <= end_us:
                return at_us
        return max(from_us, self.next_us[REQUESTS])

    def _take_place(self, now_us: int, at_us: int, interval_us: int) -> None:
        if at_us >= self.next_us[REQUESTS]:
            begin_us = max(now_us, self.next_us[REQUESTS])
            self.next_us[REQUESTS] = at_us + interval_us
            self._keep_gaps([*self.gaps, (begin_us, at_us)], interval_us)
            return
        kept = []
        for begin_us, end_us in self.gaps:
            if begin_us <= at_us < end_us:
                kept += [(begin_us, at_us), (at_us + interval_us, end_us)]
            else:
                kept.append((begin_us, end_us))
        self._keep_gaps(kept, interval_us)

    def _keep_gaps(self, gaps: list[tuple[int, int]], interval_us: int) -> None:
        self.gaps = [(begin_us, end_us) for begin_us, end_us in gaps if begin_us + interval_us <= end_us][
            -MOST_GAPS:
        ]

    def _delays_head(self, at_us: int, costs: Sequence[int], limits: Sequence[int], rate: int) -> bool:
        """Whether the head of the line could not go in its turn if this smaller call went before it."""
        head = self.head
        if head is None or not limits[head.dimension] or costs[head.dimension] >= head.cost:
            return False
        d, cost = head.dimension, costs[head.dimension]
        used = self.window.used_at(d, head.at_us) + self._others_at(d, head.at_us)
        if used + head.cost + cost > max(self._most(limits[d]), head.cost):
            return True
        paced_us = max(self.next_us[d], at_us - CREDIT_US) + self._interval_us(d, limits[d], cost, rate)
        if paced_us - CREDIT_US > head.at_us:
            return True
        return bool(limits[REQUESTS]) and (
            max(at_us, self.next_us[REQUESTS]) + self._interval_us(REQUESTS, limits[REQUESTS], 1, rate)
            > head.at_us
        )

    def _others_at(self, dimension: int, at_us: int) -> int:
        others = self.others[dimension]
        return ceil_div(others.amount, self.share) if others.until_us > at_us else 0

    def _room_us(self, dimension: int, now_us: int, cost: int, limit: int, *, waits: bool) -> int:
        """When the window has room; a call larger than our part of the limit goes when nothing else counts."""
        used, others = self.window.used[dimension], self._others_at(dimension, now_us)
        kept_until_us = self.others[dimension].until_us if others else 0
        if waits and self.head and self.head.dimension == dimension:
            others, kept_until_us = others + self.head.cost, max(kept_until_us, self.head.until_us)
        surplus = used + cost - max(self._most(limit), cost)
        if surplus + others <= 0:
            return now_us
        without_us = self.window.left_us(dimension, surplus) if surplus > 0 else now_us
        if others == 0:
            return without_us
        later_us = max(kept_until_us, without_us)
        if surplus + others > used:
            return later_us
        return min(later_us, self.window.left_us(dimension, surplus + others))
