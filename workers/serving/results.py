"""The results of a batch for those who are not here: a page at a time, each line once, while the batch runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from batchmill.errors import ParameterError
from batchmill.requests.model import BatchState
from batchmill.results.cursor import MOST_OPEN, CursorError, read_cursor
from batchmill.settings import Settings
from db.engine import Database
from workers.following import Follower
from workers.removed import refuse_removed
from workers.watching import is_all_said

MOST_LINES: Final = 1_000
MOST_BYTES: Final = 16_000_000
"""What the answers of a page take at most, a larger one aside."""

TOLD_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultPage:
    """Some lines that have ended.

    Attributes:
        chunks: The lines, some at a time, read as they are taken.
        after: The cursor behind them, for the next page; good once the page is there whole.
        has_more: Whether there are more, or will be.
    """

    chunks: Iterator[bytes]
    after: str
    has_more: bool


def result_page(
    database: Database,
    settings: Settings,
    batch: Any,
    after: str,
    *,
    most: int,
    most_bytes: int = MOST_BYTES,
) -> ResultPage:
    """The lines of a batch that have ended and are not before that cursor.

    Args:
        batch: Its row, just read.
        after: The cursor of the page before; "" for the first.
        most: Lines, at most.

    Raises:
        ParameterError: That is no cursor of this batch.
    """
    follower = _follower(database, settings, batch, after, ids_at_once=2 * most)
    ids = list(islice(follower.ended(), most))
    fit = _fitting(ids, follower.sizes(ids), most_bytes)
    follower.put_back(ids[fit:])
    cursor = follower.cursor
    # The row was read before the look: what it says to be over was over then.
    is_whole = is_all_told(batch) and not cursor.still_open and cursor.looked_to == batch.total
    return ResultPage(
        chunks=(b"".join(line for line, _ in portion) for portion in follower.portions(ids[:fit])),
        after=cursor.token(batch.public_id),
        has_more=not is_whole,
    )


def told_results(
    database: Database, settings: Settings, batch: Any, after: str
) -> Iterator[list[tuple[str, bytes]]]:
    """The lines of a batch that have ended and are not before that cursor, each with the cursor behind it.

    In portions that may be held in memory; the last cursor is where the next look begins.

    Raises:
        ParameterError: That is no cursor of this batch.
    """
    follower = _follower(database, settings, batch, after, ids_at_once=2 * MOST_LINES)
    ended = follower.ended()
    while marked := [(id_, follower.cursor) for id_ in islice(ended, TOLD_AT_ONCE)]:
        tokens = iter([cursor.token(batch.public_id) for _, cursor in marked])
        for portion in follower.portions([id_ for id_, _ in marked]):
            yield [(next(tokens), line) for line, _ in portion]


def check_after(batch: Any, after: str, param: str = "after") -> None:
    """Refuse what is no cursor of this batch.

    Raises:
        ParameterError: It is none.
    """
    if after:
        try:
            read_cursor(after, batch.public_id, batch.total)
        except CursorError as error:
            raise ParameterError(
                f"Invalid value for '{param}': it is no cursor of batch {batch.public_id}: {error}. Take"
                " `x-next-after` of the page before, as it is.",
                param,
            ) from None


def is_all_told(row: Any) -> bool:
    """Whether no line of a batch will end any more."""
    return is_all_said(row) or row.state == BatchState.FAILED


def has_ended(row: Any) -> bool:
    """Whether nothing of a batch will change any more, its files included."""
    return row.ended_ms is not None or bool(row.state == BatchState.FAILED)


def _follower(
    database: Database, settings: Settings, batch: Any, after: str, *, ids_at_once: int
) -> Follower:
    refuse_removed(batch)
    check_after(batch, after)
    return Follower(
        database,
        settings,
        batch,
        read_cursor(after, batch.public_id, batch.total) if after else None,
        most_open=MOST_OPEN,
        ids_at_once=ids_at_once,
    )


def _fitting(ids: list[int], sizes: dict[int, int], most_bytes: int) -> int:
    """How many of these fit, one at least."""
    room = most_bytes
    for number, id_ in enumerate(ids):
        room -= sizes[id_]
        if room < 0 and number:
            return number
    return len(ids)
