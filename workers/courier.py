"""The courier: delivers alerts beside the work of a command, so that a slow mail server holds nothing up."""

from functools import partial
from typing import Self

import structlog

from batchmill.alerts.delivery import Channel
from batchmill.errors import BatchmillError
from batchmill.settings import Settings
from db.engine import Database
from workers.alerts import deliver_on, make_channels, warn_of_half_set_up
from workers.beside import Beside

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
AFTER_A_FAILURE_S = 10.0
LAST_TRY_S = 5.0


class Courier(Beside):
    """Delivers for as long as the context lasts, each channel in a thread of its own, and once more at its end.

    That last time it also tries what would have waited, and is itself waited for a few seconds at most; not at all
    where a second signal ends the command at once. What is not delivered then waits in the database, for the next
    command or the maintenance worker.

    Honest weakness: a look-up of a host that hangs in the system's resolver may hold the end of the command up for
    as long as that takes.

    Args:
        last_try_s: How long the end waits for the last try.
    """

    def __init__(self, settings: Settings, database: Database, *, last_try_s: float = LAST_TRY_S) -> None:
        self._settings = settings
        self._database = database
        work = {f"alerts-{channel.name}": partial(self._work, channel) for channel in make_channels(settings)}
        super().__init__(work, last_wait_s=last_try_s)

    def __enter__(self) -> Self:
        warn_of_half_set_up(self._settings)
        return super().__enter__()

    def _work(self, channel: Channel) -> None:
        pause_s = 0.0
        while not self.ending.wait(pause_s):
            pause_s = LOOK_EVERY_S if self._deliver(channel) else AFTER_A_FAILURE_S
        self._deliver(channel, is_last=True)

    def _deliver(self, channel: Channel, *, is_last: bool = False) -> bool:
        try:
            return deliver_on(self._database, channel, also_waiting=is_last)
        except BatchmillError as error:
            # The database is away; the command itself says so, if that matters.
            log.debug("alerts_not_looked_for", code=error.code, error=error.message)
        except Exception as error:  # a thread that ended here would leave everything undelivered, unnoticed
            log.error("alerts_not_looked_for", error=f"unexpected {type(error).__name__}: {error}")
        return False
