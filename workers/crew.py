"""The crew of a run: a worker of its own, and the bell that wakes it."""

from dataclasses import dataclass

from batchmill.errors import BrokerError
from workers.doorbell import Doorbell
from workers.embedded import EmbeddedWorker
from workers.waiting import FOR_NOBODY, Waiting


@dataclass(slots=True, kw_only=True)
class Crew:
    """What a run brings along to have its batch answered.

    Attributes:
        no_broker: Why the doorbell cannot be rung, as long as it cannot.
        waiting: Whom its batch waits for, as of the last sweep.
        swept_at: When the last sweep began, by the monotonic clock.
    """

    queue: str
    doorbell: Doorbell
    worker: EmbeddedWorker
    no_broker: BrokerError | None = None
    waiting: Waiting = FOR_NOBODY
    swept_at: float = float("-inf")
