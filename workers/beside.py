"""Threads that work beside a command."""

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from batchmill.errors import StoppedError


class Beside:
    """Works in threads for as long as the context lasts.

    At its end each is told to stop, and waited for a few seconds at most; not at all where a second signal ends the
    command at once.

    Args:
        work: What each thread does until `ending` is set, by its name.
        last_wait_s: How long the end waits for all of them.
    """

    def __init__(self, work: Mapping[str, Callable[[], None]], *, last_wait_s: float) -> None:
        self.ending = threading.Event()
        self._last_wait_s = last_wait_s
        self._threads = [threading.Thread(target=do, daemon=True, name=name) for name, do in work.items()]

    @property
    def is_at_work(self) -> bool:
        """Whether it still has, or may get, something in hand."""
        return any(thread.is_alive() for thread in self._threads)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ending.set()
        if not (isinstance(error, StoppedError) and error.at_once):
            until_s = time.monotonic() + self._last_wait_s
            for thread in self._threads:
                thread.join(max(0.0, until_s - time.monotonic()))
