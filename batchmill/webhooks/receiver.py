"""Who receives webhooks: a POST each, signed as the Standard Webhooks specification 1.0 has it."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable

from yarl import URL

from batchmill.errors import DeliveryError
from batchmill.providers.connection import Exchange, WireError
from batchmill.providers.pool import LookUp, Pool, look_up

_MOST_ANSWER_BYTES = 64 * 1024


def sign(key: bytes, *, id_: str, at_s: int, body: bytes) -> str:
    """The signature of a message: `v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`."""
    signed = f"{id_}.{at_s}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


class Receiver:
    """Somebody's server, called over a connection of its own each time. Redirects are no delivery, and not followed.

    Args:
        url: Where to; nothing of it but scheme, host and port is ever told.
        key: What is signed with.
        attempt_s: Bounds one attempt, from the look-up of the host to the last answer.
        hint: What to do when it takes nothing.
        clock: Seconds since the epoch: receivers refuse what is minutes old.
        look_up: Finds the addresses of its host, and may refuse them.

    Raises:
        ValueError: The URL cannot be called; nothing of it is in the message.
    """

    def __init__(
        self,
        url: str,
        *,
        key: bytes,
        attempt_s: float,
        hint: str = "",
        clock: Callable[[], float] = time.time,
        look_up: LookUp = look_up,
    ) -> None:
        try:
            self._url = URL(url)
            self._origin = self._url.origin()
        except ValueError:
            raise ValueError("it is no URL that can be called") from None
        self._key = key
        self._attempt_s = attempt_s
        self._hint = hint
        self._clock = clock
        self._look_up = look_up

    @property
    def target(self) -> str:
        """Scheme, host and port."""
        return str(self._origin)

    async def post(self, id_: str, body: bytes) -> None:
        """Post a JSON document; any 2xx says that it has arrived.

        Args:
            id_: The same at every try: receivers know by it what they have.

        Raises:
            DeliveryError: Any other answer, or none. If it was only the answer that was lost, the next try brings it
                once more, with the same `webhook-id`.
        """
        exchange = Exchange()
        pool = Pool(
            self._origin,
            most=1,
            connect_timeout_s=self._attempt_s,
            most_bytes=_MOST_ANSWER_BYTES,
            look_up=self._look_up,
        )
        try:
            async with asyncio.timeout(self._attempt_s):
                await pool.carry(self._request(id_, body), exchange)
        except (OSError, WireError) as error:
            if exchange.status is None:
                is_late = type(error) is TimeoutError
                reason = f"it did not answer within {self._attempt_s:g} s" if is_late else str(error)
                raise self._not_delivered(reason) from None
        finally:
            pool.close()
            await asyncio.sleep(0)  # a turn of the loop, in which the connection is let go
        if exchange.status is None or not 200 <= exchange.status < 300:
            raise self._not_delivered(f"it answered with status {exchange.status}")

    def _request(self, id_: str, body: bytes) -> bytes:
        at_s = int(self._clock())
        headers = {
            "Host": self._url.host_port_subcomponent or "",
            "Content-Type": "application/json",
            "User-Agent": "batchmill",
            "Connection": "close",
            "Content-Length": str(len(body)),
            "webhook-id": id_,
            "webhook-timestamp": str(at_s),
            "webhook-signature": sign(self._key, id_=id_, at_s=at_s, body=body),
        }
        lines = [
            f"POST {self._url.raw_path_qs} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii") + body

    def _not_delivered(self, reason: str) -> DeliveryError:
        return DeliveryError(f"webhook {self.target}: {reason}", self._hint)
