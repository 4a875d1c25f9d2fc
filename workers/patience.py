"""Patience: when a run that cannot go on is given up, and what it says then."""

import time
from typing import Any

from batchmill.errors import ProviderError, WorkerError
from workers.crew import Crew
from workers.views import time_text
from workers.waiting import Waiting

MOST_RESTARTS = 5
CONNECT_WITHIN_MS = 12_000
UNREACHABLE = ("connect_failed", "connect_timeout")


class Patience:
    """Ends a run that cannot go on: nothing has moved for a while, and we know why.

    Args:
        begun_ms: When the run began, by the database's clock.
    """

    def __init__(self, give_up_s: float, begun_ms: int) -> None:
        self._give_up_s = give_up_s
        self._begun_ms = begun_ms
        self._moved_at = time.monotonic()
        self._seen: tuple[int, ...] = ()
        self._restarts = 0
        self._database_away_since: float | None = None

    def begin_anew(self) -> None:
        """Nothing is to move for now: somebody wants it so."""
        self._moved_at = time.monotonic()

    def database_is_back(self) -> None:
        """It has answered."""
        self._database_away_since = None

    def database_is_away(self) -> bool:
        """It has not answered; whether that has gone on for too long."""
        now = time.monotonic()
        self._database_away_since = self._database_away_since or now
        return now - self._database_away_since > self._give_up_s

    def is_out(self, row: Any, crew: Crew) -> bool:
        """Whether nothing has moved for so long, or the worker keeps dying."""
        seen = (row.done, row.failed, row.unknown_attempts, row.spent_nanos)
        if seen != self._seen:
            self._seen, self._moved_at = seen, time.monotonic()
            self._restarts, crew.worker.trouble = crew.worker.restarts, ""
        is_late = time.monotonic() - self._moved_at > self._give_up_s
        return is_late or crew.worker.restarts - self._restarts > MOST_RESTARTS

    def note(self, row: Any, crew: Crew) -> str:
        """What stands in the way, for people who watch; "" when nothing is known."""
        if crew.no_broker is not None:
            return crew.no_broker.message
        return crew.worker.trouble or crew.waiting.in_words or str(row.last_error)

    def give_up(self, row: Any, crew: Crew, in_flight_ms: int, waiting: Waiting) -> None:
        """Raise what stands in the way, unless it is only that calls take their time.

        Args:
            waiting: Whom the batch waits for at this moment.
        """
        log_hint = f"the worker's log is {crew.worker.log_path}"
        if crew.worker.restarts - self._restarts > MOST_RESTARTS:
            why = f": {crew.worker.trouble}" if crew.worker.trouble else ""
            times = crew.worker.restarts - self._restarts
            raise WorkerError(f"the worker died {times} times without answering anything{why}", log_hint)
        is_idle = in_flight_ms == 0
        if crew.no_broker is not None and is_idle:
            raise crew.no_broker
        if crew.worker.trouble and is_idle:
            raise WorkerError(
                f"nothing has moved for {self._give_up_s:.0f} s: {crew.worker.trouble}",
                f"{log_hint}; put it right, then run the same command again: it goes on",
            )
        if row.last_error.startswith(UNREACHABLE) and self._is_nobody_there(in_flight_ms):
            raise ProviderError(
                f"the provider has not been reached for {self._give_up_s:.0f} s ({row.last_error}); nothing is lost",
                "check OPENAI_BASE_URL and the network, then run the same command again: it goes on",
            )

        if is_idle and waiting.is_in_vain(self._begun_ms):
            raise ProviderError(
                f"nothing has moved for {self._give_up_s:.0f} s: {_resting(waiting)}; nothing is lost",
                "`batchmill providers health` shows how they are; run the same command again then: it goes on",
            )

    def _is_nobody_there(self, in_flight_ms: int) -> bool:
        """No call is out, or all that are may still be waiting for a connection, and have been for long enough."""
        overdue_s = time.monotonic() - self._moved_at - self._give_up_s
        return in_flight_ms == 0 or (
            in_flight_ms < CONNECT_WITHIN_MS and overdue_s * 1000 > CONNECT_WITHIN_MS
        )


def _resting(waiting: Waiting) -> str:
    """Who rests, until when, and what each has said last."""
    return "; ".join(
        f"{one.target.name} does not answer and rests until {time_text(one.until_ms)}"
        f" ({one.reason or one.cause})"
        for one in waiting.resting
    )
