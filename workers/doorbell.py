"""The doorbell: tells workers that there is something to claim. Only a hint; the database knows what."""

import contextlib
from collections.abc import Iterator
from typing import Any

from celery import Celery

from batchmill.errors import BatchmillError, BrokerError
from batchmill.settings.values import mask_url

RUN_REQUESTS = "batchmill.run_requests"
MOST_WAITING = 8
REQUESTS_A_BLOCK = 500
CONNECT_WITHIN_S = 2


class Doorbell:
    """Rings on one broker.

    Raises (from every method):
        BrokerError: The broker cannot be reached; nothing is lost, the sweep rings later.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app

    def ring(self, *, queue: str, lane: str, batch: str, requests: int, least: int = 1) -> int:
        """Ring as often as there are blocks of work, but let no more than a few messages pile up; how often it rang.

        Args:
            batch: Its public name, a label for people who watch the queue.
            requests: About how many requests are to be claimed.
            least: Ring at least so often, as far as there is room: once for each idle process.
        """
        wanted = max(least, -(-requests // REQUESTS_A_BLOCK))
        with self._reaching() as connection:
            times = max(0, min(wanted, MOST_WAITING) - _waiting(connection, queue))
            for _ in range(times):
                self._app.send_task(
                    RUN_REQUESTS,
                    kwargs={"lane": lane, "batch": batch},
                    queue=queue,
                    retry=False,
                    connection=connection,
                )
        return times

    def waiting(self, queue: str) -> int:
        """How many messages lie in a queue."""
        with self._reaching() as connection:
            return _waiting(connection, queue)

    def remove(self, queue: str) -> None:
        """Delete a queue that nobody will read again."""
        with self._reaching() as connection:
            connection.default_channel.queue_delete(queue)

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[Any]:
        # A connection each time: one from the pool may be to a broker that has died since.
        try:
            with self._app.connection_for_write(connect_timeout=CONNECT_WITHIN_S) as connection:
                yield connection
        except BatchmillError:
            raise  # a signal's
        except Exception as error:  # every transport raises its own library's errors, and only it works here
            where = mask_url(str(self._app.conf.broker_url))
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BrokerError(
                f"broker {where} cannot be reached: {reason}",
                "check BROKER_URL (or REDIS_URL) and that it is up",
            ) from error


def _waiting(connection: Any, queue: str) -> int:
    try:
        return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors:
        return 0  # there is no such queue yet
