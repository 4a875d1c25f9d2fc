"""A lookout: looks at several things at once, each waited for in bounded time, whatever hangs."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sight(Generic[T]):
    """What came of one look.

    Attributes:
        value: What was found; None = it raised, or has not answered.
        error: What it raised; None = it has not answered, unless there is a value.
        took_s: How long it took, or has been waited for by now.
    """

    value: T | None
    error: BaseException | None
    took_s: float


class Lookout(Generic[T]):
    """Looks at whatever it is given, each in a thread of its own.

    A check that hangs is left hanging, and not begun again before it has ended.

    Args:
        within_s: How long all together are waited for.
        late_counts: What such a check has found when it ended at last counts for the next look; else it is begun
            again by that.
    """

    def __init__(self, *, within_s: float, late_counts: bool = False) -> None:
        self.within_s = within_s
        self._late_counts = late_counts
        self._lock = threading.Lock()
        self._running: dict[str, tuple[float, Future[Sight[T]]]] = {}

    def look(self, checks: Mapping[str, Callable[[], T]]) -> dict[str, Sight[T]]:
        """What each has found, by name; one look at a time."""
        with self._lock:
            for name, check in checks.items():
                is_over = name in self._running and self._running[name][1].done()
                if name not in self._running or (is_over and not self._late_counts):
                    self._running[name] = time.monotonic(), _begun(name, check)
            until = time.monotonic() + self.within_s
            return {name: self._see(name, until - time.monotonic()) for name in checks}

    def _see(self, name: str, within_s: float) -> Sight[T]:
        begun_s, running = self._running[name]
        wait([running], max(0.0, within_s))
        if not running.done():
            return Sight(None, None, time.monotonic() - begun_s)
        del self._running[name]
        return running.result()


def _begun(name: str, check: Callable[[], T]) -> Future[Sight[T]]:
    ending: Future[Sight[T]] = Future()

    def run() -> None:
        begun_s = time.monotonic()
        found: T | None = None
        error: BaseException | None = None
        try:
            found = check()
        except BaseException as raised:
            error = raised
        ending.set_result(Sight(found, error, time.monotonic() - begun_s))

    threading.Thread(target=run, daemon=True, name=f"look-{name}").start()
    return ending
