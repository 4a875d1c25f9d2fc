"""Alerts by webhook."""

import time
from collections.abc import Callable

import orjson

from batchmill.alerts.delivery import ATTEMPT_S, ChannelName
from batchmill.alerts.message import Message, utc_text
from batchmill.errors import SettingsError
from batchmill.webhooks.receiver import Receiver

_HINT = "check BATCHMILL_WEBHOOK_URL and the server there; `batchmill budget alerts --test` tries it"


class WebhookChannel:
    """One POST an alert; see `Receiver`.

    Raises:
        SettingsError: The URL cannot be called.
    """

    name = ChannelName.WEBHOOK

    def __init__(
        self, url: str, *, key: bytes, attempt_s: float = ATTEMPT_S, clock: Callable[[], float] = time.time
    ) -> None:
        try:
            self._receiver = Receiver(url, key=key, attempt_s=attempt_s, hint=_HINT, clock=clock)
        except ValueError:
            raise SettingsError(
                "BATCHMILL_WEBHOOK_URL is no URL that can be called",
                "give http:// or https://, a host and a path",
            ) from None

    @property
    def target(self) -> str:
        """Scheme, host and port."""
        return self._receiver.target

    async def send(self, message: Message) -> str:
        """Post it; any 2xx says that it has arrived.

        Raises:
            DeliveryError: It did not get there, as far as is known.
        """
        await self._receiver.post(message.id, orjson.dumps(body_of(message)))
        return ""


def body_of(message: Message) -> dict[str, object]:
    """What is posted."""
    return {
        "type": message.type,
        "timestamp": utc_text(message.at_ms),
        "data": {"severity": message.severity.value, "verdict": message.verdict, **message.facts},
    }
