"""Delivery: the channels that alerts go through, and when one that failed is tried again."""

from enum import StrEnum
from typing import Final, Protocol

from batchmill.alerts.message import Message

ATTEMPT_S: Final = 15.0
"""Bounds one attempt, from the look-up of the host to the last answer.

Honest weakness: a look-up that hangs in the system's resolver is given up, and all the same waited for.
"""

LEASE_MS: Final = 60_000
"""How long an attempt keeps others from the same; longer than it lasts, so that only a dead one is taken over."""

GIVE_UP_AFTER_MS: Final = 7 * 86_400_000
"""An alert of that age is not tried any more; that is said."""

_FIRST_WAIT_MS: Final = 10_000
_LONGEST_WAIT_MS: Final = 3_600_000


class ChannelName(StrEnum):
    """A way on which alerts reach people and programs."""

    LOG = "log"
    MAIL = "mail"
    WEBHOOK = "webhook"


class DeliveryState(StrEnum):
    """How far an alert has come on one channel."""

    PENDING = "pending"
    SENT = "sent"
    GIVEN_UP = "given_up"


class Channel(Protocol):
    """Delivers messages. At least once: whoever receives one twice knows it by its id."""

    @property
    def name(self) -> ChannelName:
        """Which one it is."""
        ...

    @property
    def target(self) -> str:
        """Where it leads, for anyone's eyes: nothing secret."""
        ...

    async def send(self, message: Message) -> str:
        """Deliver a message within `ATTEMPT_S`; what is to be said of it although it went well, "" as a rule.

        Raises:
            DeliveryError: It did not get there, as far as is known. Nothing secret is in the message.
        """
        ...


def wait_ms(tries: int) -> int:
    """How long to wait after so many tries in vain: 10 s, twice as long each time, an hour at most."""
    return int(min(_FIRST_WAIT_MS * 2 ** min(tries - 1, 20), _LONGEST_WAIT_MS))
