"""Reports that a person sends: again, or at once."""

import uuid
from collections.abc import Sequence

from batchmill.errors import ConflictError, SettingsError
from batchmill.reports.delivery import DeliveryState
from batchmill.reports.model import Report
from batchmill.settings import Settings
from db.engine import Database
from db.reports import deliveries, store
from workers.reports.delivery import Post, addresses_of, deliver, flag_lost, owe, post_of
from workers.reports.handing import send_now


def resend(database: Database, settings: Settings, name: str, recipients: Sequence[str]) -> dict[str, str]:
    """Send a report again, to these, or to all who may not have it: whom it was owed, and ADMIN_EMAILS where it was
    made without any; by recipient why it was not sent, "" if it was.

    Raises:
        NotFoundError: There is no such report.
        SettingsError: No mail server is set.
        ConflictError: All have it, and nobody is named; or somebody else is just sending it.
    """
    post = _post(settings, "")
    flag_lost(database)
    with database.read() as tx:
        stored = store.named(tx, name)
        known = deliveries.of_report(tx, stored.id)
    without = [one.recipient for one in known if one.state is not DeliveryState.SENT]
    wanted = addresses_of(tuple(recipients) or (() if known else settings.mail.recipients)) or without
    if not wanted:
        raise ConflictError(
            f"nobody is {'without' if known else 'to get'} {stored.report.period.name}",
            "name with --to whom it is to be sent to all the same"
            if known
            else "set ADMIN_EMAILS, or name --to",
        )
    database.persist(lambda tx: owe(tx, stored, wanted, post))
    opened = database.persist(lambda tx: deliveries.reopen(tx, stored.id, wanted))
    if not opened:
        raise ConflictError(
            f"{stored.report.period.name} is being sent by somebody else just now",
            "see `batchmill report list` in two minutes",
        )
    for recipient in opened:
        turn = database.persist(lambda tx, to=recipient: deliveries.take(tx, stored.id, to))  # type: ignore[misc]
        if turn is not None:
            deliver(database, post, turn)
    with database.read() as tx:
        now = {one.recipient: one for one in deliveries.of_report(tx, stored.id) if one.recipient in wanted}
    return {
        who: "" if one.state is DeliveryState.SENT else one.error or "somebody else is just sending it"
        for who, one in now.items()
    }


def send_at_once(report: Report, settings: Settings, recipient: str) -> None:
    """Mail a report that is not kept.

    Raises:
        DeliveryError: The mail server has not taken it, or has not said so.
        SettingsError: No mail server is set.
    """
    post = _post(settings, recipient)
    message_id = f"report-{report.period.name}-{uuid.uuid4().hex[:24]}@{post.sender.domain}"
    send_now(report, post, recipient, message_id)


def _post(settings: Settings, or_from: str) -> Post:
    post = post_of(settings.mail, or_from=or_from)
    if post is None:
        variable = "SMTP_URL" if settings.mail.server is None else "MAIL_FROM"
        raise SettingsError(f"no mail can be sent: {variable} is not set", f"set {variable}")
    return post
