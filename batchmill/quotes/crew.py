"""Tallies in several processes: counting tokens is what a quote spends its time with."""

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any

from batchmill.errors import BatchmillError
from batchmill.quotes.tally import Question, Tallies, Teller

ALONE = 2
"""The first chunks are tallied here: a short input is done before a process has started."""
AHEAD = 3
"""Chunks that wait for each process at most."""

_teller: Teller | None = None


class Crew:
    """Tallies chunks of requests, in processes forked from this one once there are many.

    Args:
        processes: 1 tallies all of them here, as a process with threads has to: its forks might never wake up.
        before_fork: Closes what no two processes may share, connections for instance.
    """

    def __init__(
        self, teller: Teller, *, processes: int, before_fork: Callable[[], None] = lambda: None
    ) -> None:
        self.tallies: Tallies = {}
        self._teller = teller
        self._processes = processes
        self._before_fork = before_fork
        self._alone = ALONE
        self._pool: ProcessPoolExecutor | None = None
        self._waiting: deque[Future[Tallies]] = deque()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Add up all that was handed in by the end; leave no process behind.

        Raises:
            BatchmillError: One of the processes was killed.
        """
        try:
            yield
            self._gather(0)
        except BaseException as error:
            # The pool ends its processes with a signal that they ignore, and would wait for them for ever.
            for process in multiprocessing.active_children():
                process.kill()
            if isinstance(error, BrokenProcessPool):
                raise BatchmillError("a process that counts tokens was killed", "try again") from error
            raise
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)

    def tally(self, chunk: Sequence[Question]) -> None:
        """Hand a chunk in."""
        self._alone -= 1
        if self._processes == 1 or self._alone >= 0:
            self._add(self._teller.tally(chunk))
            return
        if self._pool is None:
            self._pool = self._forked()
        # Plain tuples: a named one takes ten times as long to travel.
        self._waiting.append(self._pool.submit(_tally, list(map(tuple, chunk))))
        self._gather(AHEAD * self._processes)

    def _gather(self, most_waiting: int) -> None:
        while len(self._waiting) > most_waiting:
            self._add(self._waiting.popleft().result())

    def _add(self, tallies: Tallies) -> None:
        for kind, tally in tallies.items():
            if kind in self.tallies:
                self.tallies[kind].add(tally)
            else:
                self.tallies[kind] = tally

    def _forked(self) -> ProcessPoolExecutor:
        self._before_fork()
        # What is there now stays, what comes dies young: the collector need not walk it all so often.
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        return ProcessPoolExecutor(
            self._processes,
            mp_context=multiprocessing.get_context("fork"),  # with the ranks and prices that are loaded
            initializer=_begin,
            initargs=(self._teller,),
        )


def _begin(teller: Teller) -> None:
    global _teller
    _teller = teller
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the first process hears it too, and ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _tally(chunk: Sequence[tuple[Any, ...]]) -> Tallies:
    assert _teller is not None
    return _teller.tally(map(Question._make, chunk))
