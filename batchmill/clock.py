"""Time, injected: nothing in batchmill asks the operating system for it behind a caller's back."""

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
