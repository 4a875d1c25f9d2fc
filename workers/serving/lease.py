"""The lease: what makes a batch one clerk's, kept for as long as he is at it, whatever that takes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from batchmill.errors import ConflictError, DatabaseError, StoppedError
from batchmill.requests.model import BatchState
from db import hosted
from db.engine import Database, Transaction

LEASE_MS = 30_000
RENEW_EVERY_S = 5.0
AGAIN_AFTER_MS = 2_000
"""Where the database or the store is away, a batch waits so long."""


class LostError(ConflictError):
    """A batch is no longer this clerk's: it was cancelled, or another has taken it over."""


@dataclass(slots=True, kw_only=True)
class Lease:
    """One clerk's hold on one batch, renewed by a thread of its own: a read or a write may take longer than it lasts.

    Args:
        row: The batch, as it was taken.
        stopping: Set when its clerk is to stop.
    """

    database: Database
    row: Any
    clerk: str
    stopping: threading.Event
    _is_lost: threading.Event = field(default_factory=threading.Event)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def keep(self, tx: Transaction) -> bool:
        """Renew it; False when the batch is another's by now, or has moved on without us."""
        return hosted.renew(tx, self.row.id, self.clerk, LEASE_MS, (BatchState(self.row.state),))

    def check(self) -> None:
        """To be called often.

        Raises:
            StoppedError: The clerk is to stop.
            LostError: He has lost the batch.
        """
        if self.stopping.is_set():
            raise StoppedError("the clerk was stopped")
        if self._is_lost.is_set():
            raise LostError("this batch is another clerk's by now, or was cancelled")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Renewed until this ends; then the batch is anyone's again, after a pause where it was not done with."""
        delay_ms = AGAIN_AFTER_MS
        with self._renewed():
            try:
                yield
                delay_ms = 0
            except (StoppedError, LostError):
                delay_ms = 0
                raise
            finally:
                with suppress(DatabaseError), self.database.write() as tx:
                    hosted.let_go(tx, self.row.id, self.clerk, delay_ms)

    @contextmanager
    def _renewed(self) -> Iterator[None]:
        heart = threading.Thread(target=self._beat, name="clerk-lease", daemon=True)
        heart.start()
        try:
            yield
        finally:
            self._is_over.set()
            heart.join()

    def _beat(self) -> None:
        while not self._is_over.wait(RENEW_EVERY_S):
            # A database that is away for longer than the lease costs us the batch; it says so when it is back.
            with suppress(DatabaseError):
                self.beat()

    def beat(self) -> None:
        """Renew it once."""
        with self.database.write() as tx:
            if not self.keep(tx):
                self._is_lost.set()


@contextmanager
def leased(database: Database, clerk: str, stopping: threading.Event) -> Iterator[Lease | None]:
    """The oldest hosted batch that something is to be done for, leased until this ends; None without one."""
    with database.read() as tx:
        is_there = hosted.has_work(tx)
    row = None
    if is_there:
        with database.write() as tx:
            row = hosted.take(tx, clerk, LEASE_MS)
    if row is None:
        yield None
        return
    lease = Lease(database=database, row=row, clerk=clerk, stopping=stopping)
    with lease.held():
        yield lease
