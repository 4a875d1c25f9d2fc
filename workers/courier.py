"""The courier: delivers alerts beside the work of a command, so that a slow mail server holds nothing up."""

import threading
from types import TracebackType
from typing import Self

import structlog

from batchmill.errors import BatchmillError, StoppedError
from batchmill.settings import Settings
from db.engine import Database
from workers.alerts import deliver, half_set_up, make_channels

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
AFTER_A_FAILURE_S = 10.0
LAST_TRY_S = 5.0


class Courier:
    """Delivers in a thread of its own for as long as the context lasts, and once more at its end.

    That last time it also tries what would have waited, and is itself waited for a few seconds at most; not at all
    where a second signal ends the command at once. What is not delivered then waits in the database, for the next
    command or the maintenance worker.

    Honest weakness: a look-up of a host that hangs in the system's resolver may hold the end of the command up for
    as long as that takes.

    Args:
        last_try_s: How long the end waits for the last try.
    """

    def __init__(self, settings: Settings, database: Database, *, last_try_s: float = LAST_TRY_S) -> None:
        self._database = database
        self._last_try_s = last_try_s
        self._channels = make_channels(settings)
        self._half_set_up = half_set_up(settings)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="alerts")

    @property
    def is_at_work(self) -> bool:
        """Whether it still has, or may get, something in hand."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        for channel, variable in self._half_set_up.items():
            log.warning("alert_channel_not_set_up", channel=channel.value, missing=variable)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        if not (isinstance(error, StoppedError) and error.at_once):
            self._thread.join(self._last_try_s)

    def _work(self) -> None:
        pause_s = 0.0
        while not self._ending.wait(pause_s):
            pause_s = LOOK_EVERY_S if self._deliver() else AFTER_A_FAILURE_S
        self._deliver(is_last=True)

    def _deliver(self, *, is_last: bool = False) -> bool:
        try:
            return deliver(self._database, self._channels, also_waiting=is_last)
        except BatchmillError as error:
            # The database is away; the command itself says so, if that matters.
            log.debug("alerts_not_looked_for", code=error.code, error=error.message)
        except Exception as error:  # a thread that ended here would leave everything undelivered, unnoticed
            log.error("alerts_not_looked_for", error=f"unexpected {type(error).__name__}: {error}")
        return False
