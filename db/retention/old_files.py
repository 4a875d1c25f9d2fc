"""Old files of the service: marked as gone; whoever has the store at hand removes them (docs/decisions/0030)."""

from collections.abc import Callable
from functools import partial

from db import files
from db.engine import Database
from db.retention.steps import Steps

FILES_A_STEP = 200


def drop_old(database: Database, *, before_ms: int, check: Callable[[], None] = lambda: None) -> int:
    """Let files be gone that were made by then, have no expiry of their own, and are not read any more; how many."""
    steps, dropped, after = Steps(database, check), 0, 0
    while True:
        with database.read() as tx:
            ids = files.old(tx, before_ms=before_ms, after=after, most=FILES_A_STEP)
        if not ids:
            return dropped
        dropped += steps.take(partial(files.drop_unread, ids=ids))
        after = ids[-1]
