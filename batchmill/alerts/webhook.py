"""Alerts by webhook, signed as the Standard Webhooks specification 1.0 has it."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable

import orjson
from yarl import URL

from batchmill.alerts.delivery import ATTEMPT_S, ChannelName
from batchmill.alerts.message import Message, utc_text
from batchmill.errors import DeliveryError, SettingsError
from batchmill.providers.connection import Exchange, WireError
from batchmill.providers.pool import Pool

_MOST_ANSWER_BYTES = 64 * 1024


def sign(key: bytes, *, id_: str, at_s: int, body: bytes) -> str:
    """The signature of a message: `v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`."""
    signed = f"{id_}.{at_s}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


class WebhookChannel:
    """One POST an alert, over a connection of its own. Redirects are not followed: they are no delivery.

    Args:
        url: Where to; nothing of it but host and port is ever told.
        key: What is signed with.
        attempt_s: Bounds one attempt.
        clock: Seconds since the epoch: receivers refuse what is minutes old.

    Raises:
        SettingsError: The URL cannot be called.
    """

    name = ChannelName.WEBHOOK

    def __init__(
        self, url: str, *, key: bytes, attempt_s: float = ATTEMPT_S, clock: Callable[[], float] = time.time
    ) -> None:
        try:
            self._url = URL(url)
            self._origin = self._url.origin()
        except ValueError:
            raise SettingsError(
                "BATCHMILL_WEBHOOK_URL is no URL that can be called",
                "give http:// or https://, a host and a path",
            ) from None
        self._key = key
        self._attempt_s = attempt_s
        self._clock = clock

    @property
    def target(self) -> str:
        """Scheme, host and port."""
        return str(self._origin)

    async def send(self, message: Message) -> str:
        """Post it; any 2xx says that it has arrived.

        Raises:
            DeliveryError: Any other answer, or none. If it was only the answer that was lost, the next try brings it
                once more, with the same `webhook-id`.
        """
        exchange = Exchange()
        pool = Pool(self._origin, most=1, connect_timeout_s=self._attempt_s, most_bytes=_MOST_ANSWER_BYTES)
        try:
            async with asyncio.timeout(self._attempt_s):
                await pool.carry(self._request(message), exchange)
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
        return ""

    def _request(self, message: Message) -> bytes:
        body = orjson.dumps(body_of(message))
        at_s = int(self._clock())
        headers = {
            "Host": self._url.host_port_subcomponent or "",
            "Content-Type": "application/json",
            "User-Agent": "batchmill",
            "Connection": "close",
            "Content-Length": str(len(body)),
            "webhook-id": message.id,
            "webhook-timestamp": str(at_s),
            "webhook-signature": sign(self._key, id_=message.id, at_s=at_s, body=body),
        }
        lines = [
            f"POST {self._url.raw_path_qs} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii") + body

    def _not_delivered(self, reason: str) -> DeliveryError:
        return DeliveryError(
            f"webhook {self.target}: {reason}",
            "check BATCHMILL_WEBHOOK_URL and the server there; `batchmill budget alerts --test` tries it",
        )


def body_of(message: Message) -> dict[str, object]:
    """What is posted."""
    return {
        "type": message.type,
        "timestamp": utc_text(message.at_ms),
        "data": {"severity": message.severity.value, "verdict": message.verdict, **message.facts},
    }
