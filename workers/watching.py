"""Watching: a batch looked at again and again, by those who change nothing."""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from batchmill.errors import DatabaseError
from batchmill.requests.model import BatchState
from batchmill.settings import Settings
from db import batches
from db.engine import Database, Transaction

T = TypeVar("T")

LOOK_EVERY_S = 0.5
DELIVERED_WITHIN_MS = 10_000
"""A batch that is finalizing for longer waits for a command to come for its files."""


def patiently(database: Database, settings: Settings, read: Callable[[Transaction], T]) -> T:
    """Read; a shared database that is away is waited for, BATCHMILL_GIVE_UP_S long.

    Raises:
        DatabaseError: It is away for longer.
    """
    deadline = time.monotonic() + settings.calls.give_up_s
    while True:
        try:
            with database.read() as tx:
                return read(tx)
        except DatabaseError:
            if settings.database.is_embedded or time.monotonic() > deadline:
                raise
        time.sleep(LOOK_EVERY_S)


def watch(database: Database, settings: Settings, batch: Any) -> Iterator[Any]:
    """The batch's row, twice a second, until it has ended; that last row as well.

    Raises:
        DatabaseError: The database is away for too long.
    """
    while True:
        row, now_ms = patiently(
            database, settings, lambda tx: (batches.rows(tx, [batch.id])[batch.id], tx.now_ms)
        )
        yield row
        if has_ended(row, now_ms):
            return
        time.sleep(LOOK_EVERY_S)


def has_ended(row: Any, now_ms: int) -> bool:
    """Whether it has come to its end, or to all of it that does not hang on another command."""
    if row.state == BatchState.FINALIZING:
        return bool(now_ms - row.finalizing_ms > DELIVERED_WITHIN_MS)
    return row.ended_ms is not None or row.state == BatchState.FAILED


def stands_still(row: Any) -> bool:
    """Whether somebody has to do something before it goes on."""
    return bool(row.state == BatchState.PAUSED)


def is_all_said(row: Any) -> bool:
    """Whether every line of it has ended, whatever is still to be done about its files."""
    return bool(row.state == BatchState.FINALIZING or row.ended_ms is not None)


def is_all_answered(row: Any) -> bool:
    """Whether every line of it is answered."""
    return bool(row.total > 0 and row.done == row.total and row.state != BatchState.FAILED)
