"""Time as tests have it."""

import asyncio
from collections.abc import Callable

PATIENCE_S = 110.0
"""How long a slow machine is given; a little less than a whole test is."""


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true, patiently."""
    async with asyncio.timeout(PATIENCE_S):
        pause_s = 0.01
        while not condition():
            await asyncio.sleep(pause_s)
            pause_s = min(0.05, pause_s * 1.2)


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = start_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._now_ms

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self._now_ms += ms
