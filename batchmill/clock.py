"""Time, injected: what goes by the calendar takes a clock, and tests bring their own."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 in UTC."""
        ...


class SystemClock:
    """This machine's time."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 in UTC, as this machine knows them."""
        return time.time_ns() // 1_000_000
