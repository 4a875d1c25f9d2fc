"""Following: the results of a batch as they come, each once, while it is still being answered."""

from array import array
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from batchmill.requests.ids import request_id
from batchmill.requests.model import ENDED, BatchState
from batchmill.settings import Settings
from db import batches, results
from db.engine import Database, Transaction
from workers.delivery import result_line
from workers.watching import patiently

T = TypeVar("T")

IDS_A_PAGE = 2_000
LINES_A_PAGE = 100
_CURSOR_TELLS = (BatchState.IN_PROGRESS, BatchState.PAUSED)


class Follower:
    """Sees every line of a batch once, some time after it has ended.

    It keeps the place up to which it has looked, and what was still open there. What ends stays ended, so one
    look at each of these, and at what has been claimed since, misses nothing, in whatever order commits become
    visible. Memory holds eight bytes for each request that is open.
    """

    def __init__(self, database: Database, settings: Settings, batch: Any) -> None:
        self._database = database
        self._settings = settings
        self._batch = batch
        self._looked_to = 0
        self._open = array("q")

    def new_lines(self) -> Iterator[tuple[bytes, bool]]:
        """The lines that have ended since the last time, and whether each is answered; iterate to the end."""
        still_open = array("q")
        for first in range(0, len(self._open), IDS_A_PAGE):
            ids = self._open[first : first + IDS_A_PAGE].tolist()
            ended = self._read(partial(results.ended_of, ids=ids))
            yield from self._lines(ended)
            gone = set(ended)
            still_open.extend(id_ for id_ in ids if id_ not in gone)
        self._open = still_open
        yield from self._beyond()

    def _beyond(self) -> Iterator[tuple[bytes, bool]]:
        last = self._read(self._last_touched)
        while self._looked_to < last:
            first, to = request_id(self._batch.id, self._looked_to + 1), request_id(self._batch.id, last)
            page = self._read(partial(results.states, first=first, last=to, most=IDS_A_PAGE))
            yield from self._lines([row.id for row in page if row.state in ENDED])
            self._open.extend(row.id for row in page if row.state not in ENDED)
            self._looked_to += len(page)

    def _last_touched(self, tx: Transaction) -> int:
        """The last place that may have ended: claims go by the cursor, an early end takes all."""
        row = batches.rows(tx, [self._batch.id])[self._batch.id]
        return int(max(row.cursor, row.looked_up_to) if row.state in _CURSOR_TELLS else row.total)

    def _lines(self, ids: list[int]) -> Iterator[tuple[bytes, bool]]:
        for first in range(0, len(ids), LINES_A_PAGE):
            for row in self._read(partial(results.of, ids=ids[first : first + LINES_A_PAGE])):
                yield result_line(self._batch.public_id, row)

    def _read(self, read: Callable[[Transaction], T]) -> T:
        return patiently(self._database, self._settings, read)
