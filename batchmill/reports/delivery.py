"""Deliveries of reports: how far each has come, and what is counted on while one is under way."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

OPENING_S: Final = 15.0
"""Bounds the way to the server, up to the moment before the mail itself is handed over."""

DATA_S: Final = 60.0
"""Bounds the handing over. Others wait for whoever does it, so it is less than the ten minutes of RFC 5321."""

LEASE_MS: Final = 120_000
"""How long an attempt keeps others from the same; longer than it lasts, so that only a dead one is taken for lost."""

GIVE_UP_AFTER_MS: Final = 7 * 86_400_000
"""A report of that age is not sent any more."""

KILLED: Final = "whoever handed it over was killed before the server's answer was noted"


class DeliveryState(StrEnum):
    """pending → sending → sent | unknown | given_up; what fails before the mail is handed over is pending again."""

    PENDING = "pending"
    SENDING = "sending"
    """The mail is being handed over, for as long as the lease lasts."""
    SENT = "sent"
    """The server has said that it took it."""
    UNKNOWN = "unknown"
    """Nobody knows whether the server took it. It is not sent again by itself."""
    GIVEN_UP = "given_up"
    """The server refuses it for good, or it is too old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How far a report has come to one recipient.

    Attributes:
        since_ms: When it came to that state.
        error: Why the last try failed.
    """

    recipient: str
    state: DeliveryState
    tries: int
    message_id: str
    next_try_ms: int
    since_ms: int
    error: str
