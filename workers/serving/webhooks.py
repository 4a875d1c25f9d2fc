"""The webhooks of batches: their producers are told how they ended, at least once, whoever is killed meanwhile.

A webhook is owed from the transaction that makes its batch, and due from the one that ends it. It is tried with growing
waits for a day; each try bears the same `webhook-id`, by which a receiver knows what it has.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import structlog
from pydantic import SecretStr

from batchmill.alerts.delivery import wait_ms
from batchmill.errors import BatchmillError, ParameterError
from batchmill.providers.pool import look_up
from batchmill.settings import Settings
from batchmill.settings.alerts import check_webhook_url, signing_key
from batchmill.webhooks.addresses import PrivateAddressError, check_public, look_up_public
from batchmill.webhooks.receiver import Receiver
from db import batches, webhooks
from db.engine import Database
from db.webhooks import Owed

log = structlog.get_logger()

ATTEMPT_S: Final = 10.0
AT_ONCE: Final = 16
LOOK_EVERY_S: Final = 1.0
STOPPED_WITHIN_S: Final = 0.2
ROUND_S: Final = 20.0
"""After this long a round ends, whatever is still owed."""

PARAM: Final = "webhook_url"
Show = Callable[[Database, Any], Mapping[str, Any]]


def check_target(settings: Settings, url: str, *, to_private: bool) -> None:
    """Refuse a webhook that could not, or must not, be delivered. Looks its host up, which may take seconds.

    Args:
        to_private: It may go to addresses that are not on the public internet.

    Raises:
        ParameterError: What is wrong with it, or with the service's settings; nothing of the URL but its host is told.
    """
    if settings.webhook.secret is None:
        raise _refused("this service signs its webhooks, and its BATCHMILL_WEBHOOK_SECRET is not set")
    try:
        check_webhook_url(url)
    except ValueError as error:
        raise _refused(str(error)) from None
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if to_private:
        return
    try:
        check_public(host, port)
    except PrivateAddressError:
        raise _refused(
            f"{host} is not on the public internet, where this service's webhooks may go"
            " (BATCHMILL_WEBHOOKS_TO_PRIVATE)"
        ) from None
    except OSError:
        raise _refused(f"its host, {host}, cannot be found") from None


def shown_webhook(row: Any) -> dict[str, Any]:
    """A webhook's row as a batch shows it."""
    return {"url": row.url, "state": row.state, "tries": row.tries, "error": row.error or None}


class Postman:
    """Delivers the webhooks that are due, in a thread of its own once it is started. Any number may be at it.

    Args:
        show: A batch as it is shown.
        to_private: They may go to addresses that are not on the public internet.
        clock: Seconds since the epoch, for the signatures.
        attempt_s: Bounds one try.
    """

    def __init__(
        self,
        database: Database,
        secret: SecretStr | None,
        show: Show,
        *,
        to_private: bool = False,
        clock: Callable[[], float] = time.time,
        attempt_s: float = ATTEMPT_S,
    ) -> None:
        self._database = database
        self._key = None if secret is None else signing_key(secret)
        self._show = show
        self._look_up = look_up if to_private else look_up_public
        self._clock = clock
        self._attempt_s = attempt_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="postman", daemon=True)

    def start(self) -> None:
        """Begin; without a secret there is nothing that it could do."""
        if self._key is not None:
            self._thread.start()

    def stop(self) -> None:
        """End. What is under way is given up; it is tried again once its lease is over."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                self.deliver_due()
            except BatchmillError as error:
                log.warning("webhooks_not_delivered", code=error.code, error=error.message, hint=error.hint)
            except Exception as error:
                log.exception("webhooks_not_delivered", error=f"{type(error).__name__}: {error}")

    def deliver_due(self) -> int:
        """One round: deliver what is due, some at once, for `ROUND_S` at most; how many have arrived.

        Without a secret nothing is signed, nor sent: it waits for somebody who has one.

        Raises:
            DatabaseError: It cannot be asked what is due.
        """
        if self._key is None:
            return 0
        arrived = 0
        until_s = time.monotonic() + ROUND_S
        while time.monotonic() < until_s and not self._stopping.is_set() and (owed := self._claim()):
            arrived += self._deliver(owed, self._key)
        return arrived

    def _claim(self) -> list[Owed]:
        with self._database.read() as tx:
            if not webhooks.is_owed(tx):
                return []
        with self._database.write() as tx:
            return webhooks.claim(tx, AT_ONCE)

    def _deliver(self, all_owed: Sequence[Owed], key: bytes) -> int:
        with self._database.read() as tx:
            rows = batches.rows(tx, [owed.batch_id for owed in all_owed])
        for owed in all_owed:
            if owed.is_given_up:
                log.error("webhook_given_up", batch=rows[owed.batch_id].public_id, tries=owed.tries)
        to_try = [owed for owed in all_owed if not owed.is_given_up]
        return sum(asyncio.run(self._post_all([(owed, rows[owed.batch_id]) for owed in to_try], key)))

    async def _post_all(self, to_try: Sequence[tuple[Owed, Any]], key: bytes) -> list[bool]:
        posts = [asyncio.create_task(self._post(owed, row, key)) for owed, row in to_try]
        pending = set(posts)
        while pending:
            _, pending = await asyncio.wait(pending, timeout=STOPPED_WITHIN_S)
            if self._stopping.is_set():
                for post in pending:
                    post.cancel()
        return [not post.cancelled() and post.result() for post in posts]

    async def _post(self, owed: Owed, row: Any, key: bytes) -> bool:
        """Whether it has arrived; noted as soon as that is known, however long the others take."""
        try:
            id_, body = await asyncio.to_thread(self._told, owed, row)
            receiver = Receiver(
                owed.url, key=key, attempt_s=self._attempt_s, clock=self._clock, look_up=self._look_up
            )
            await receiver.post(id_, body)
        except Exception as error:  # one that cannot be told must not keep the others from it
            await asyncio.to_thread(self._note_failed, owed, row, _reason(error))
            return False
        await asyncio.to_thread(self._database.persist, lambda tx: webhooks.note_sent(tx, owed))
        return True

    def _note_failed(self, owed: Owed, row: Any, reason: str) -> None:
        self._database.persist(lambda tx: webhooks.note_failed(tx, owed, reason))
        log.warning(
            "webhook_not_delivered",
            batch=row.public_id,
            tries=owed.tries,
            next_try_s=wait_ms(owed.tries) // 1000,
            error=reason,
        )

    def _told(self, owed: Owed, row: Any) -> tuple[str, bytes]:
        """Its id and what is posted: the same at every try, so without how the tries went."""
        id_ = f"evt_{row.public_id.removeprefix('batch_')}"
        data = {name: value for name, value in self._show(self._database, row).items() if name != "webhook"}
        event = {
            "id": id_,
            "type": f"batch.{row.state}",
            "created_at": owed.due_ms // 1000,
            "data": data,
        }
        return id_, orjson.dumps(event)


def _refused(reason: str) -> ParameterError:
    return ParameterError(f"Invalid value for '{PARAM}': {reason}.", PARAM)


def _reason(error: Exception) -> str:
    """What nobody foresaw may hold anything, secrets too: its kind is told."""
    return error.message if isinstance(error, BatchmillError) else f"unexpected {type(error).__name__}"
