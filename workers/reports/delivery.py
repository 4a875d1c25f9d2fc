"""Reports go out: to each recipient a mail of its own, once.

All that can fail for known reasons comes first: connecting, logging in, naming sender and recipient. Then it is written
down that the mail is being handed over; then it is; then that it has been. Who is killed in between leaves a delivery
of which nobody knows, and that is said.
"""

from collections.abc import Callable
from dataclasses import dataclass
from email.headerregistry import Address

import structlog

from batchmill.errors import DeliveryError, RefusedMailError, UncertainMailError
from batchmill.reports.delivery import DeliveryState
from batchmill.reports.identity import message_id_of
from batchmill.settings.alerts import MailServer, MailSettings, read_mailbox
from db.engine import Database, Transaction
from db.reports import deliveries, store
from db.reports.deliveries import Turn
from db.reports.store import StoredReport

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Where mail is handed in, and whom it is from."""

    server: MailServer
    sender: Address


def post_of(mail: MailSettings, *, or_from: str = "") -> Post | None:
    """The post that is set up; None without a server, or without anybody to send as.

    Args:
        or_from: Whom mail comes from where neither MAIL_FROM nor ADMIN_EMAILS says it.
    """
    sender = mail.sender or next(iter(mail.recipients), or_from)
    return (
        Post(server=mail.server, sender=read_mailbox(sender)) if mail.server is not None and sender else None
    )


def addresses_of(mailboxes: tuple[str, ...]) -> list[str]:
    """The bare addresses, each once; their domains in lower case, as mail takes them for the same."""
    found = map(read_mailbox, mailboxes)
    return list(dict.fromkeys(f"{one.username}@{one.domain.lower()}" for one in found))


def owe(tx: Transaction, stored: StoredReport, recipients: list[str], post: Post) -> None:
    """Note who is to get a report; who is noted already stays as it is."""
    installation = store.installation_id(tx)
    message_ids = (
        message_id_of(
            stored.report, installation=installation, recipient=recipient, domain=post.sender.domain
        )
        for recipient in recipients
    )
    deliveries.owe(tx, stored.id, zip(recipients, message_ids, strict=True))


def flag_lost(database: Database) -> int:
    """Say of which deliveries nobody knows any more, and which are given up; how many."""
    lost = database.persist(deliveries.flag_lost)
    for one in lost:
        event = "report_mail_unsure" if one.state is DeliveryState.UNKNOWN else "report_mail_given_up"
        log.error(event, report=one.name, recipient=one.recipient, message_id=one.message_id)
    return len(lost)


def deliver_owed(database: Database, post: Post, *, checkpoint: Callable[[], None] = lambda: None) -> int:
    """Deliver whatever is due; how many mails were sent. One that fails waits, and keeps no other from its turn.

    Args:
        checkpoint: Called before each; what it raises ends the work.
    """
    with database.read() as tx:
        if not deliveries.is_due(tx):
            return 0
    flag_lost(database)
    sent = 0
    while True:
        checkpoint()
        turn = database.persist(deliveries.take)
        if turn is None:
            return sent
        sent += deliver(database, post, turn) is DeliveryState.SENT


def deliver(database: Database, post: Post, turn: Turn) -> DeliveryState:
    """Deliver what was taken; what has become of it."""
    from workers.reports.handing import (
        hand_in,
    )  # brings templates and pictures, of which most rounds have no need

    error: DeliveryError | None = None
    try:
        hand_in(database, post, turn)
    except DeliveryError as failed:
        error = failed
    match error:
        case None:
            log.info("report_mail_sent", **_told(turn))
            return DeliveryState.SENT
        case UncertainMailError():
            database.persist(lambda tx: deliveries.note_unknown(tx, turn, error.message))
            log.error("report_mail_unsure", error=error.message, **_told(turn))
            return DeliveryState.UNKNOWN
        case RefusedMailError():
            database.persist(lambda tx: deliveries.note_refused(tx, turn, error.message))
            log.error("report_mail_given_up", error=error.message, **_told(turn))
            return DeliveryState.GIVEN_UP
        case _:
            database.persist(lambda tx: deliveries.note_failed(tx, turn, error.message))
            log.warning("report_mail_not_sent", error=error.message, **_told(turn))
            return DeliveryState.PENDING


def _told(turn: Turn) -> dict[str, object]:
    return {
        "report": turn.name,
        "recipient": turn.recipient,
        "message_id": turn.message_id,
        "tries": turn.tries,
    }
