"""Following: the results of a batch as they come, each once, while it is still being answered."""

import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from batchmill.requests.ids import place_of, request_id
from batchmill.requests.model import ENDED, BatchState
from batchmill.results.cursor import Cursor
from batchmill.settings import Settings
from db import batches, results
from db.engine import Database, Transaction
from workers.delivery import result_line
from workers.removed import refuse_removed_meanwhile
from workers.watching import patiently

T = TypeVar("T")

IDS_A_PAGE = 2_000
LINES_A_PAGE = 100
BYTES_A_PAGE = 4_000_000
"""What the answers read at once hold at most, a larger one aside."""

_CURSOR_TELLS = (BatchState.IN_PROGRESS, BatchState.PAUSED)


class Follower:
    """Sees every line of a batch once, some time after it has ended.

    It keeps the place up to which it has looked, and what was still open there. What ends stays ended, so one
    look at each of these, and at what has been claimed since, misses nothing, in whatever order commits become
    visible. Memory holds eight bytes for each request that is open.

    Args:
        cursor: How far somebody has come; from there it goes on.
        most_open: With so many open it looks no further; what lies beyond comes when some of these have ended.
        ids_at_once: How many requests are asked about at once.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        batch: Any,
        cursor: Cursor | None = None,
        *,
        most_open: int = sys.maxsize,
        ids_at_once: int | None = None,
    ) -> None:
        cursor = cursor or Cursor()
        self._database = database
        self._settings = settings
        self._batch = batch
        self._most_open = most_open
        self._ids_at_once = ids_at_once or IDS_A_PAGE
        self._looked_to = cursor.looked_to
        self._open = array("q", [request_id(batch.id, place) for place in cursor.still_open])
        # While a look goes on: what was open before it, and how many of these it has seen.
        self._before = array("q")
        self._seen = 0

    @property
    def cursor(self) -> Cursor:
        """How far it has come: after each id of `ended`, to the line."""
        still_open = self._open + self._before[self._seen :]
        return Cursor(looked_to=self._looked_to, still_open=tuple(map(place_of, still_open)))

    def new_lines(self) -> Iterator[tuple[bytes, bool]]:
        """The lines that have ended since the last time, and whether each is answered; iterate to the end."""
        ids: list[int] = []
        for id_ in self.ended():
            ids.append(id_)
            if len(ids) == LINES_A_PAGE:
                yield from self.lines(ids)
                ids = []
        yield from self.lines(ids)

    def ended(self) -> Iterator[int]:
        """The requests that have ended since the last time; left early, the others come the next time."""
        self._before, self._open, self._seen = self._open + self._before[self._seen :], array("q"), 0
        while self._seen < len(self._before):
            ids = self._before[self._seen : self._seen + self._ids_at_once].tolist()
            gone = set(self._read(partial(results.ended_of, ids=ids)))
            for id_ in ids:
                self._seen += 1
                if id_ in gone:
                    yield id_
                else:
                    self._open.append(id_)
        yield from self._beyond()

    def _beyond(self) -> Iterator[int]:
        last = self._read(self._last_touched)
        while self._looked_to < last:
            first, to = request_id(self._batch.id, self._looked_to + 1), request_id(self._batch.id, last)
            page = self._read(partial(results.states, first=first, last=to, most=self._ids_at_once))
            if not page or page[0].id != first:
                refuse_removed_meanwhile(self._database, self._batch)
            for row in page:
                has_ended = row.state in ENDED
                if not has_ended and len(self._open) >= self._most_open:
                    return
                self._looked_to += 1
                if has_ended:
                    yield row.id
                else:
                    self._open.append(row.id)

    def _last_touched(self, tx: Transaction) -> int:
        """The last place that may have ended: claims go by the cursor, an early end takes all."""
        row = batches.rows(tx, [self._batch.id])[self._batch.id]
        return int(max(row.cursor, row.looked_up_to) if row.state in _CURSOR_TELLS else row.total)

    def put_back(self, ids: Sequence[int]) -> None:
        """Take some that `ended` gave for open again: they come the next time."""
        self._open = array("q", sorted([*self._open, *ids]))

    def lines(self, ids: Sequence[int]) -> Iterator[tuple[bytes, bool]]:
        """The lines of these requests, which have ended, in this order, and whether each is answered."""
        for portion in self.portions(ids):
            yield from portion

    def portions(self, ids: Sequence[int]) -> Iterator[list[tuple[bytes, bool]]]:
        """The same in portions that may be held in memory."""
        for some in _portions(ids, self.sizes(ids)):
            found = {row.id: row for row in self._read(partial(results.of, ids=some))}
            if len(found) < len(some):
                refuse_removed_meanwhile(self._database, self._batch)
            yield [result_line(self._batch.public_id, found[id_]) for id_ in some]

    def sizes(self, ids: Sequence[int]) -> dict[int, int]:
        """About how many bytes the answers of these requests take."""
        found = self._read(partial(results.sizes, ids=ids))
        if len(found) < len(ids):
            refuse_removed_meanwhile(self._database, self._batch)
        return found

    def _read(self, read: Callable[[Transaction], T]) -> T:
        return patiently(self._database, self._settings, read)


def _portions(ids: Sequence[int], sizes: dict[int, int]) -> Iterator[list[int]]:
    """These, in portions that may be held in memory."""
    portion: list[int] = []
    room = BYTES_A_PAGE
    for id_ in ids:
        if portion and (len(portion) == LINES_A_PAGE or sizes[id_] > room):
            yield portion
            portion, room = [], BYTES_A_PAGE
        portion.append(id_)
        room -= sizes[id_]
    if portion:
        yield portion
