"""Batches whose lines are gone, as they had been kept long enough: said in words, wherever somebody asks for them."""

from typing import Any

from batchmill.errors import NotFoundError
from db import batches
from db.engine import Database
from workers.views import time_text

DAY_MS = 86_400_000


def refuse_removed(row: Any) -> None:
    """Say so of a batch whose lines are removed, or about to be.

    Raises:
        NotFoundError: They are.
    """
    if row.removed_ms is None:
        return
    kept_days = (row.removed_ms - (row.ended_ms or row.removed_ms)) // DAY_MS
    raise NotFoundError(
        f"the lines and answers of batch {row.public_id} were removed on {when_removed(row)}, after they had been"
        f" kept for {kept_days} days",
        "BATCHMILL_KEEP_BATCHES_DAYS says how long they are; `batchmill status` still shows how it ended and what"
        " it cost",
    )


def refuse_removed_meanwhile(database: Database, row: Any) -> None:
    """The same for one that somebody has just read to its end: of one that is removed meanwhile that is not all.

    Raises:
        NotFoundError: Its lines are removed, or about to be.
    """
    with database.read() as tx:
        now = batches.rows(tx, [row.id]).get(row.id)
    if now is None:  # a single request
        raise NotFoundError(f"request {row.public_id} was removed meanwhile", "")
    refuse_removed(now)


def when_removed(row: Any) -> str | None:
    """The day on which its lines were removed, as `2026-11-01`; None while they are there."""
    removed = time_text(row.removed_ms)
    return removed and removed[:10]
