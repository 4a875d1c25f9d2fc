"""A report is handed in to the mail server."""

import asyncio

from batchmill.errors import DeliveryError
from batchmill.mail.session import connected
from batchmill.reports.delivery import DATA_S, OPENING_S
from batchmill.reports.mail import mail_of
from batchmill.reports.model import Report
from batchmill.settings.alerts import read_mailbox
from db.engine import Database
from db.reports import deliveries, store
from db.reports.deliveries import Turn
from workers.reports.delivery import Post

HINT = "check SMTP_URL and MAIL_FROM; `batchmill budget alerts --test` tries them"


def hand_in(database: Database, post: Post, turn: Turn) -> None:
    """Hand in the mail of a delivery that is ours; when this returns, it is noted as sent.

    Raises:
        DeliveryError: The server does not have it, or is not known to.
    """
    asyncio.run(_hand_in(database, post, turn))


def send_now(report: Report, post: Post, recipient: str, message_id: str) -> None:
    """Send a report that is not kept.

    Raises:
        DeliveryError: The server has not taken it, or has not said so.
    """
    asyncio.run(_send(report, post, recipient, message_id))


async def _hand_in(database: Database, post: Post, turn: Turn) -> None:
    with database.read() as tx:
        report = store.named(tx, str(turn.report_id)).report
    recipient = read_mailbox(turn.recipient)
    mail = mail_of(report, sender=post.sender, recipient=recipient, message_id=turn.message_id)
    async with connected(post.server, domain=post.sender.domain, within_s=OPENING_S, hint=HINT) as session:
        await session.address(post.sender, [recipient])
        if not await asyncio.to_thread(database.persist, lambda tx: deliveries.begin(tx, turn)):
            raise DeliveryError("another has taken over the delivery", "it goes on by itself")
        await session.hand_in(mail, within_s=DATA_S)
        await asyncio.to_thread(database.persist, lambda tx: deliveries.note_sent(tx, turn))


async def _send(report: Report, post: Post, recipient: str, message_id: str) -> None:
    to = read_mailbox(recipient)
    mail = mail_of(report, sender=post.sender, recipient=to, message_id=message_id)
    async with connected(post.server, domain=post.sender.domain, within_s=OPENING_S, hint=HINT) as session:
        await session.address(post.sender, [to])
        await session.hand_in(mail, within_s=DATA_S)
