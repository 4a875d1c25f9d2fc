"""The clerk: reads the files of batches handed in over HTTP, writes those that are owed, and clears up behind.

All that there is to do stands in the database, is leased there, and is done anew by whoever comes next should a
clerk be killed: any number of them may work side by side, on any machine that reaches the file store.
"""

import threading
from collections.abc import Callable
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars, unbind_contextvars

from batchmill.errors import BatchmillError, StoppedError
from batchmill.requests.model import BatchState
from db import idempotency
from db import workers as worker_rows
from workers.serving import files
from workers.serving.batch_object import batch_object
from workers.serving.idempotency import KEPT_FOR_MS
from workers.serving.lease import Lease, LostError, leased
from workers.serving.reading import end_unread, read
from workers.serving.service import Service
from workers.serving.webhooks import Postman
from workers.serving.writing import write

log = structlog.get_logger()

LOOK_EVERY_S = 0.1
CLEAN_UP_EVERY_S = 30.0
CLERKS = 2
"""So many batches are read or written at a time: a large one keeps no small one waiting."""


class Clerk:
    """Does what there is to do, in a thread of its own, until stopped.

    Args:
        on_started: Told the row of a batch whose lines are to be answered from now on.
    """

    def __init__(self, service: Service, on_started: Callable[[Any], None] = lambda _: None) -> None:
        self._service = service
        self._on_started = on_started
        self._name = worker_rows.new_id()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="clerk", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wind_up(self) -> None:
        """Begin to end. What is half-done is left to whoever comes next."""
        self._stopping.set()

    def stop(self) -> None:
        """End."""
        self.wind_up()
        self._thread.join()

    def step(self) -> bool:
        """Do one thing; whether there was any.

        Raises:
            BatchmillError: It could not be done; the batch waits for a moment, and is taken up again.
        """
        with leased(self._service.database, self._name, self._stopping) as lease:
            if lease is None:
                return False
            bind_contextvars(batch=lease.row.public_id)
            log.debug("clerk_took", state=lease.row.state)
            self._see_to(lease)
        return True

    def _see_to(self, lease: Lease) -> None:
        match lease.row.state:
            case BatchState.VALIDATING:
                if read(self._service, lease):
                    self._on_started(lease.row)
            case BatchState.FINALIZING:
                write(self._service, lease)
            case BatchState.CANCELLING:
                end_unread(self._service, lease)

    def _work(self) -> None:
        while not self._stopping.is_set():
            if not self._step_or_tell():
                self._stopping.wait(LOOK_EVERY_S)

    def _step_or_tell(self) -> bool:
        try:
            return self.step()
        except StoppedError:
            pass
        except LostError as error:
            log.info("clerk_lost_batch", error=error.message)
        except BatchmillError as error:
            log.warning("clerk_failed", code=error.code, error=error.message, hint=error.hint)
        except Exception as error:
            log.exception("clerk_failed", error=f"{type(error).__name__}: {error}")
        finally:
            unbind_contextvars("batch")
        return False


class Office:
    """The clerks of one process, one who clears up behind them, and one who tells how batches ended.

    Args:
        on_started: As `Clerk` has it.
    """

    def __init__(self, service: Service, on_started: Callable[[Any], None] = lambda _: None) -> None:
        self._service = service
        self._clerks = [Clerk(service, on_started) for _ in range(CLERKS)]
        self._postman = Postman(
            service.database,
            service.settings.webhook.secret,
            batch_object,
            to_private=service.posts_to_private,
        )
        self._stopping = threading.Event()
        self._caretaker = threading.Thread(target=self._clear_up, name="caretaker", daemon=True)

    def __enter__(self) -> "Office":
        for clerk in self._clerks:
            clerk.start()
        self._caretaker.start()
        self._postman.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for clerk in self._clerks:
            clerk.wind_up()
        for clerk in self._clerks:
            clerk.stop()
        self._postman.stop()
        self._caretaker.join()

    def _clear_up(self) -> None:
        while not self._stopping.wait(CLEAN_UP_EVERY_S):
            try:
                clean_up(self._service)
            except BatchmillError as error:
                log.warning("clean_up_failed", code=error.code, error=error.message, hint=error.hint)
            except Exception as error:
                log.exception("clean_up_failed", error=f"{type(error).__name__}: {error}")


def clean_up(service: Service) -> None:
    """Remove files that have expired or were left half-written, and names of requests from yesterday."""
    files.clean_up(service.database, service.store)
    with service.database.write() as tx:
        idempotency.forget(tx, KEPT_FOR_MS)
