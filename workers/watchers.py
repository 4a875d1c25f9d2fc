"""Those who are told how calls have ended: the log of requests, and the tracer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from batchmill.request_log import CallLog
from batchmill.requests.work import Outcome

if TYPE_CHECKING:
    from batchmill.tracing import Tracer

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Watchers:
    """They see what goes by, and are in nobody's way: what goes wrong with them stops no request."""

    log: CallLog | None = None
    tracer: "Tracer | None" = None

    def tell(self, outcome: Outcome) -> None:
        """Tell them how an attempt has ended, if a call was made. Raises nothing."""
        if not outcome.reply.is_of_a_call:
            return
        try:
            if self.log is not None:
                self.log.write(outcome)
            if self.tracer is not None:
                self.tracer.trace(outcome)
        except Exception as error:
            log.warning("call_not_told", error=type(error).__name__)

    def close(self) -> None:
        """Send what is still to be sent, for as long as that is worth waiting for."""
        if self.tracer is not None:
            self.tracer.close()
