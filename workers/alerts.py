"""Alerts are delivered: by the maintenance worker, and by the commands that bring workers of their own (`courier.py`).

Whoever delivers takes one alert of one channel at a time, for the length of a lease: two never send the same, unless
the first dies between sending and noting it. What fails waits in the database.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from batchmill.alerts.delivery import Channel, ChannelName, wait_ms
from batchmill.alerts.log import LogChannel
from batchmill.alerts.message import Message, Topic, trial_message
from batchmill.errors import BatchmillError
from batchmill.settings import Settings
from batchmill.settings.alerts import signing_key
from db import alerts
from db.alerts import Owed
from db.engine import Database

log = structlog.get_logger()

ROUND_S = 20.0
"""After this long a channel's round ends, whatever is still owed: its worker has other things to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of a test alert on one channel.

    Attributes:
        target: Where it leads; "" for a channel that is not set up.
        is_delivered: Whether the server there took it; `error` may have something to say all the same.
        error: Why it did not get there, or what stands in the way.
        hint: What to do about that.
    """

    channel: ChannelName
    target: str
    is_delivered: bool
    error: str = ""
    hint: str = ""


def make_channels(settings: Settings) -> list[Channel]:
    """The channels that are set up: the log always.

    Raises:
        SettingsError: One of them cannot be used.
    """
    channels: list[Channel] = [LogChannel()]
    mail, webhook = settings.mail, settings.webhook
    if mail.server is not None and mail.recipients:
        from batchmill.alerts.mail import MailChannel  # brings an SMTP client, which most have no use for

        sender = mail.sender or mail.recipients[0]
        channels.append(MailChannel(mail.server, sender=sender, recipients=mail.recipients))
    if webhook.url is not None and webhook.secret is not None:
        from batchmill.alerts.webhook import WebhookChannel

        channels.append(WebhookChannel(webhook.url.get_secret_value(), key=signing_key(webhook.secret)))
    return channels


def half_set_up(settings: Settings) -> dict[ChannelName, str]:
    """The channels that are wanted but not set up whole, and the variable that each lacks."""
    missing = {ChannelName.MAIL: settings.mail.missing, ChannelName.WEBHOOK: settings.webhook.missing}
    return {channel: variable for channel, variable in missing.items() if variable}


def warn_of_half_set_up(settings: Settings) -> None:
    """Said once by whoever delivers: what such a channel owes waits for somebody who has all variables."""
    for channel, variable in half_set_up(settings).items():
        log.warning("alert_channel_not_set_up", channel=channel.value, missing=variable)


def deliver(database: Database, channels: Sequence[Channel]) -> bool:
    """One round on every channel, beside each other: a slow one keeps none waiting. Whether nothing failed.

    Raises:
        DatabaseError: It cannot be asked what is owed.
    """
    with ThreadPoolExecutor(len(channels)) as pool:
        return all(list(pool.map(lambda channel: deliver_on(database, channel), channels)))


def deliver_on(database: Database, channel: Channel, *, also_waiting: bool = False) -> bool:
    """One round: deliver what a channel owes, until something fails or `ROUND_S` are over; whether nothing did.

    Args:
        also_waiting: Try those, too, whose next try is still to come.

    Raises:
        DatabaseError: It cannot be asked what is owed.
    """
    until_s = time.monotonic() + ROUND_S
    while time.monotonic() < until_s:
        owed = _claim(database, channel.name, also_waiting)
        if owed is None:
            break
        if owed.is_given_up:
            log.error(
                "alert_given_up", channel=channel.name.value, verdict=owed.alert.verdict, tries=owed.tries
            )
        elif not _send(database, channel, owed):
            return False
    return True


def try_out(settings: Settings, now_ms: int, topic: Topic | None = None) -> Iterator[Trial]:
    """Send a test alert through every channel, and say of the others what they lack; nothing is recorded."""
    message = trial_message(now_ms, topic)
    for channel in make_channels(settings):
        yield _try_out(channel, message)
    for name, variable in half_set_up(settings).items():
        lacks = f"{variable} is not set"
        yield Trial(channel=name, target="", is_delivered=False, error=lacks, hint=f"set {variable} as well")


def _try_out(channel: Channel, message: Message) -> Trial:
    try:
        remark = asyncio.run(channel.send(message))
    except Exception as error:  # whatever is wrong with one, the others are to be tried, too
        told = {"error": _reason(error), "hint": error.hint if isinstance(error, BatchmillError) else ""}
        return Trial(channel=channel.name, target=channel.target, is_delivered=False, **told)
    return Trial(channel=channel.name, target=channel.target, is_delivered=True, error=remark)


def _claim(database: Database, channel: ChannelName, also_waiting: bool) -> Owed | None:
    with database.read() as tx:
        if not alerts.is_owed(tx, channel, also_waiting=also_waiting):
            return None
    with database.write() as tx:
        return alerts.claim(tx, channel, also_waiting=also_waiting)


def _send(database: Database, channel: Channel, owed: Owed) -> bool:
    try:
        remark = asyncio.run(channel.send(owed.alert.told()))
    except Exception as error:  # one alert that cannot be sent must not keep the others from it
        _note_failed(database, owed, _reason(error))
        return False
    database.persist(lambda tx: alerts.note_sent(tx, owed, remark))
    if remark:
        log.warning(
            "alert_partly_delivered", channel=owed.channel.value, verdict=owed.alert.verdict, error=remark
        )
    return True


def _note_failed(database: Database, owed: Owed, reason: str) -> None:
    database.persist(lambda tx: alerts.note_failed(tx, owed, reason))
    log.warning(
        "alert_not_delivered",
        channel=owed.channel.value,
        verdict=owed.alert.verdict,
        tries=owed.tries,
        next_try_s=wait_ms(owed.tries) // 1000,
        error=reason,
    )


def _reason(error: Exception) -> str:
    """What nobody foresaw may hold anything, secrets too: its kind is told."""
    return error.message if isinstance(error, BatchmillError) else f"unexpected {type(error).__name__}"
