"""The audience: those who watch batches over HTTP. Each batch is looked at once a tick, however many watch it."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from batchmill.errors import BatchmillError, BusyError
from db import batches
from db.engine import Database
from workers.watching import LOOK_EVERY_S

log = structlog.get_logger()

MOST_SEATS: Final = 500
"""As many may watch at once in one process."""

Show = Callable[[Database, Any], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A batch as it was seen.

    Attributes:
        row: Its row.
        shown: As it is shown to others.
    """

    row: Any
    shown: Mapping[str, Any]


class Seat:
    """From where one watches one batch.

    Attributes:
        is_over: The house closes; nothing more is seen.
    """

    def __init__(self, audience: "Audience", sight: Sight) -> None:
        self._audience = audience
        self._sight = sight
        self._news = asyncio.Event()
        self.is_over = False

    @property
    def sight(self) -> Sight:
        """What was seen last."""
        return self._sight

    async def changed(self, within_s: float) -> bool:
        """Wait until something has changed, or the time is over; whether something has. What comes between two calls
        is seen as one change."""
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return not self.is_over

    def show(self, sight: Sight) -> None:
        """Put a new sight before it."""
        self._sight = sight
        self._news.set()

    def close(self) -> None:
        """Wake who sits here: it is over."""
        self.is_over = True
        self._news.set()

    def leave(self) -> None:
        """Give it up; doing so twice is one."""
        self._audience.leave(self)


class Audience:
    """Those who watch batches, in one process, from one event loop. While nobody does, nothing is done.

    Args:
        show: A batch as it is shown.
        most: As many seats there are.
        every_s: How often it looks.
    """

    def __init__(
        self, database: Database, show: Show, *, most: int = MOST_SEATS, every_s: float = LOOK_EVERY_S
    ) -> None:
        self._database = database
        self._show = show
        self._most = most
        self._every_s = every_s
        self._seats: set[Seat] = set()
        self._looking: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def size(self) -> int:
        """How many watch."""
        return len(self._seats)

    def take_seat(self, sight: Sight) -> Seat:
        """A seat for somebody who has seen that of his batch; to be left in the end.

        Raises:
            BusyError: There is none left.
        """
        if len(self._seats) >= self._most or self._is_closed:
            raise BusyError(
                f"{len(self._seats)} streams of events are open, as many as one process serves",
                "try again in a while, or ask for the batch itself now and then",
            )
        seat = Seat(self, sight)
        self._seats.add(seat)
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look_on(), name="audience")
        return seat

    def leave(self, seat: Seat) -> None:
        """Give up a seat; the last one turns off the light."""
        self._seats.discard(seat)
        if not self._seats and self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def close(self) -> None:
        """Send everybody home: their streams end."""
        self._is_closed = True
        for seat in self._seats:
            seat.close()

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                rows, shown = await asyncio.to_thread(self._look, self._rows_by_batch())
            except Exception as error:  # whatever it is, they see no change meanwhile, and do later
                log.warning("batches_not_watched", error=_reason(error))
                continue
            for seat in self._seats:
                row = rows.get(seat.sight.row.id)
                # Who came while we looked may have seen something else before: the next look is for him.
                if row is not None and row != seat.sight.row and row.id in shown:
                    seat.show(Sight(row=row, shown=shown[row.id]))

    def _rows_by_batch(self) -> dict[int, list[Any]]:
        seen: dict[int, list[Any]] = defaultdict(list)
        for seat in self._seats:
            seen[seat.sight.row.id].append(seat.sight.row)
        return seen

    def _look(self, seen: Mapping[int, list[Any]]) -> tuple[dict[int, Any], dict[int, Mapping[str, Any]]]:
        """The batches' rows now, and of those that somebody has seen otherwise how they are shown."""
        with self._database.read() as tx:
            rows = batches.rows(tx, sorted(seen))
        changed = [id_ for id_, row in rows.items() if any(row != before for before in seen[id_])]
        return rows, {id_: self._show(self._database, rows[id_]) for id_ in changed}


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, BatchmillError) else f"unexpected {type(error).__name__}"
