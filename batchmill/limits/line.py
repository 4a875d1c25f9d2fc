"""The line in which calls to one model wait, and what they are told at its end."""

import asyncio
import contextlib
import itertools
from collections import deque
from dataclasses import dataclass, field, replace

from batchmill.limits.model import Demand
from batchmill.routing.names import Target

MOST_URGENT = 9
"""So many urgent calls in a row leave before others that wait; then one of those does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Leave for one call.

    Attributes:
        permit: What the limiter knows it by; "" where nothing is limited.
        account: Which of the provider's keys it is for, counted from 0.
        starts_at_s: When it is to be sent, by the loop's clock.
    """

    permit: str
    target: Target
    account: int
    demand: Demand
    starts_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPass:
    """No leave.

    Attributes:
        never: The call is larger than the limit itself.
        wait_s: When to come back: too many wait already.
    """

    never: bool = False
    wait_s: float = 1.0


@dataclass(slots=True, kw_only=True)
class Waiter:
    """One who waits.

    Attributes:
        limit: What it had to wait for when it was last asked for; "" where it was not asked for yet.
    """

    permit: str
    demand: Demand
    is_urgent: bool
    told: asyncio.Future[Pass | NoPass]
    since_s: float
    limit: str = ""

    def ease(self) -> None:
        """Ask for half of the answer next time. How long it gets nobody knows, and what comes is counted then."""
        self.demand = replace(self.demand, output_tokens=self.demand.output_tokens // 2)

    def tell(self, what: Pass | NoPass) -> bool:
        """Let it know; whether that is still wanted."""
        if self.told.done():
            return False
        self.told.set_result(what)
        return True


@dataclass(slots=True)
class Line:
    """Those who wait for one model.

    Attributes:
        waiting: Urgent ones first.
        urgent: How many of them are.
        urgent_left: How many urgent ones were let through since another was.
        is_asked_for: Somebody asks for those who wait.
        asking: The task that does, once it takes longer.
        moved: Somebody has given something back.
        wait_s: How long the one behind the last had to wait when it was last asked.
        limit: What for.
    """

    waiting: deque[Waiter] = field(default_factory=deque)
    urgent: int = 0
    urgent_left: int = 0
    is_asked_for: bool = False
    asking: asyncio.Task[None] | None = None
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    wait_s: float = 0.0
    limit: str = ""

    def join(self, waiter: Waiter) -> None:
        """Let somebody stand behind those who are as urgent."""
        self.waiting.insert(self.urgent if waiter.is_urgent else len(self.waiting), waiter)
        self.urgent += waiter.is_urgent

    def leave(self, waiter: Waiter) -> None:
        """Take somebody out of the line, who may have gone already."""
        with contextlib.suppress(ValueError):
            self.waiting.remove(waiter)
            self.urgent -= waiter.is_urgent

    def forget_gone(self) -> None:
        """Take out those who wait no more."""
        for waiter in [waiter for waiter in self.waiting if waiter.told.done()]:
            self.leave(waiter)

    def first(self, most: int) -> list[Waiter]:
        """Those whose turn it is."""
        first = list(itertools.islice(self.waiting, most))
        if self.urgent_left >= MOST_URGENT and 0 < self.urgent < len(self.waiting):
            other = self.waiting[self.urgent]
            return [other, *(waiter for waiter in first if waiter is not other)]
        return first

    def note_let_through(self, waiter: Waiter) -> None:
        """Count who has left the line with a pass."""
        self.urgent_left = self.urgent_left + 1 if waiter.is_urgent else 0
