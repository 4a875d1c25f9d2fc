"""One run of a job: what it is given, and how it learns that it should stop."""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from batchmill.errors import BatchmillError, DatabaseError, StoppedError
from batchmill.failpoints import Failpoint, reached
from batchmill.settings import Settings
from batchmill.settings.schedules import JobName
from db import schedules
from db.engine import Database
from db.schedules import LEASE_MS, Turn

log = structlog.get_logger()

Detail = Mapping[str, Any]
"""What came of a run, for people and as JSON."""

RENEWALS_A_LEASE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """What a job is given.

    Attributes:
        due_ms: When it was due: a report is of the day before that, however late it runs.
        stopping: Whether whoever runs it has been told to stop.
        lost: Set when another has taken over.
    """

    job: JobName
    due_ms: int
    settings: Settings
    database: Database
    stopping: Callable[[], bool] = lambda: False
    lost: threading.Event = field(default_factory=threading.Event)

    def checkpoint(self) -> None:
        """To be called between steps, of a second at most each.

        Raises:
            StoppedError: Whoever runs it is to stop, or another has taken over; nothing more may be done.
        """
        if self.lost.is_set() or self.stopping():
            raise StoppedError(f"the job {self.job} was stopped", "it goes on by itself")


def perform(
    settings: Settings,
    database: Database,
    job: JobName,
    due_ms: int,
    do: Callable[[JobRun], Detail],
    *,
    stopping: Callable[[], bool] = lambda: False,
    by_hand: bool = False,
    not_beside: Collection[str] = (),
    lease_ms: int = LEASE_MS,
) -> Detail | None:
    """Run a job if it is to be run now; what came of it, None when it is not its turn or was stopped, or another has
    taken over.

    Args:
        by_hand: Somebody asked for this run: it is due now, whatever its times are.
        not_beside: Jobs of which one at a time is run, this one among them.
        lease_ms: After so long without a sign of life another takes over.

    Raises:
        BatchmillError: It went wrong; that is noted, and it will be tried again.
    """
    owner = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
    turn = database.persist(
        lambda tx: schedules.take(
            tx, job, due_ms, owner, by_hand=by_hand, not_beside=not_beside, lease_ms=lease_ms
        )
    )
    if turn is None:
        return None
    run = JobRun(job=job, due_ms=due_ms, settings=settings, database=database, stopping=stopping)
    try:
        with bound_contextvars(job=job.value, worker=owner), _renewing(database, turn, run):
            reached(Failpoint.IN_JOB)
            detail = do(run)
    except StoppedError:
        database.persist(lambda tx: schedules.hand_back(tx, turn))
        return None
    except Exception as error:
        told = error.message if isinstance(error, BatchmillError) else f"unexpected {type(error).__name__}"
        database.persist(lambda tx: schedules.fail(tx, turn, told))
        raise
    if not database.persist(lambda tx: schedules.finish(tx, turn, detail)):
        log.warning("job_taken_over", job=job.value, detail=dict(detail))
        return None
    return detail


@contextmanager
def _renewing(database: Database, turn: Turn, run: JobRun) -> Iterator[None]:
    """Its lease is renewed for as long as the context lasts; where that cannot be done, it is lost once it is over."""
    ended, lease_s = threading.Event(), turn.lease_ms / 1000

    def renew() -> None:
        lost_at = time.monotonic() + lease_s
        while not ended.wait(lease_s / RENEWALS_A_LEASE):
            asked_at = time.monotonic()
            try:
                is_ours = database.persist(lambda tx: schedules.renew(tx, turn))
                lost_at = asked_at + lease_s
            except DatabaseError as error:
                log.warning("job_lease_not_renewed", job=turn.job, error=error.message)
                is_ours = time.monotonic() < lost_at
            if not is_ours:
                run.lost.set()
                return

    thread = threading.Thread(target=renew, daemon=True, name=f"renew-{turn.job}")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
