"""Removal of old batches, beginning to end."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from batchmill.requests.ids import request_id
from db.engine import Database, Transaction
from db.retention import doomed, lines
from db.retention.doomed import Old
from db.retention.lines import Gone
from db.retention.steps import Steps

BATCHES_A_STEP = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What went.

    Attributes:
        batches: Of which nothing is left now.
        single: Single requests, which are not counted as batches.
        lines: Of both.
    """

    batches: int = 0
    single: int = 0
    lines: int = 0
    calls: int = 0


def remove(
    database: Database,
    old: Old,
    *,
    is_attended: Callable[[Any], bool] = lambda _: False,
    check: Callable[[], None] = lambda: None,
) -> Removed:
    """Remove what is old, and what an earlier run left half-removed.

    Args:
        is_attended: Whether a command is at work on a batch, by its row; it stays then.
        check: Called between steps; what it raises ends the work there.
    """
    steps = Steps(database, check)
    batches = single = 0
    gone = Gone()
    for rows in _some(doomed.pages(database, old)):
        going = _mark(steps, rows, old, is_attended)
        direct = [row.id for row in going if row.is_direct]
        others = [row.id for row in going if not row.is_direct]
        if direct:
            gone += steps.take(partial(lines.remove, ids=[request_id(batch, 1) for batch in direct]))
        for batch in others:
            gone += _remove_lines(steps, batch)
        if going:
            cleared = steps.take(partial(doomed.clear, ids=[row.id for row in going]))
            single += sum(row.is_direct for row in cleared)
            batches += sum(not row.is_direct for row in cleared)
    return Removed(batches=batches, single=single, lines=gone.lines, calls=gone.calls)


def _some(pages: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    for page in pages:
        for first in range(0, len(page), BATCHES_A_STEP):
            yield page[first : first + BATCHES_A_STEP]


def _mark(steps: Steps, rows: Sequence[Any], old: Old, is_attended: Callable[[Any], bool]) -> Sequence[Any]:
    """Mark those that may go now; the rows of all that are marked."""
    free = [row.id for row in rows if row.removed_ms is not None or not is_attended(row)]

    def mark(tx: Transaction) -> Sequence[Any]:
        doomed.doom(tx, free, old)
        return doomed.begun(tx, free)

    return steps.take(mark) if free else ()


def _remove_lines(steps: Steps, batch: int) -> Gone:
    gone, after = Gone(), 0
    while True:
        step, after = steps.take(partial(_remove_page, batch=batch, after=after, most=steps.most))
        if not after:
            return gone
        gone += step


def _remove_page(tx: Transaction, *, batch: int, after: int, most: int) -> tuple[Gone, int]:
    """What went of the next lines, and the last of them; 0 = there were none."""
    ids = lines.page(tx, batch, after=after, most=most)
    return (lines.remove(tx, ids), ids[-1]) if ids else (Gone(), 0)
