"""A balance: what is spent and held of one budget in one of its periods, and what may still be held.

```
hold     held + x                    only while spent + held + x ≤ limit
settle   held − x, spent + cost      the cost is known; 0 for a call that was not billed
unknown  held − x, spent + x         nobody knows what it cost: it is charged at its hold
correct  spent − x + cost            evidence came later
overrun  cost above x                charged in full, and remembered as such
```
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Room(StrEnum):
    """Whether an amount fits."""

    FITS = "fits"
    LATER = "later"
    """Not now; but calls in flight may come cheaper than what is held for them, and then it would."""
    NEVER = "never"
    """Not even if every call in flight came for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """How a call that was held ended.

    Attributes:
        periods: The rows that it is held on.
        cost_nanos: None = not known: it is charged at its hold.
        is_unknown: Nobody knows whether it was billed at all.
        was_unknown: That was so until now.
        sent_ms: When the call went out.
    """

    periods: tuple[int, ...]
    hold_nanos: int
    cost_nanos: int | None
    is_unknown: bool = False
    was_unknown: bool = False
    sent_ms: int = 0
    provider: str = ""
    model: str = ""

    @property
    def name(self) -> str:
        """Whom it went to, `openai/gpt-4o`."""
        return f"{self.provider}/{self.model}"

    @property
    def amount_nanos(self) -> int:
        """What is charged."""
        return self.hold_nanos if self.cost_nanos is None else self.cost_nanos

    @property
    def overrun_nanos(self) -> int:
        """By how much it was dearer than its hold."""
        return max(0, self.amount_nanos - self.hold_nanos)


@dataclass(slots=True)
class Movement:
    """What charges add to the balance that their calls are held on, in nano-dollars."""

    spent: int = 0
    held: int = 0
    unknown: int = 0
    overrun: int = 0

    @classmethod
    def of(cls, charges: Iterable[Charge]) -> "Movement":
        """What these come to together."""
        sums = cls()
        for charge in charges:
            amount, hold = charge.amount_nanos, charge.hold_nanos
            sums.spent += amount
            if amount > hold:
                sums.overrun += amount - hold
            if charge.was_unknown:
                sums.spent -= hold
                sums.unknown -= hold
            else:
                sums.held -= hold
            if charge.is_unknown:
                sums.unknown += hold
        return sums


@dataclass(slots=True, kw_only=True)
class Balance:
    """One period of a budget."""

    limit_nanos: int
    spent_nanos: int = 0
    held_nanos: int = 0
    unknown_nanos: int = 0
    overrun_nanos: int = 0

    def room(self, nanos: int) -> Room:
        """Whether so much may be held, now or later."""
        if self.spent_nanos + self.held_nanos + nanos <= self.limit_nanos:
            return Room.FITS
        return Room.LATER if self.spent_nanos + nanos <= self.limit_nanos else Room.NEVER

    def is_used_up_for(self, nanos: int) -> bool:
        """Whether it is for what has been spent that an amount does not fit, not for being above the limit itself."""
        return self.spent_nanos >= self.limit_nanos or nanos <= self.limit_nanos

    def hold(self, nanos: int) -> None:
        """Hold what fits."""
        self.held_nanos += nanos

    def move(self, movement: Movement) -> None:
        """Let holds go, and spend what their calls came to."""
        self.spent_nanos += movement.spent
        self.held_nanos += movement.held
        self.unknown_nanos += movement.unknown
        self.overrun_nanos += movement.overrun

    def has_used(self, percent: int) -> bool:
        """Whether that part of the limit is spent; of a limit of 0 no part is."""
        return self.limit_nanos > 0 and self.spent_nanos * 100 >= self.limit_nanos * percent
