"""Alerts by mail."""

from collections.abc import Sequence
from email.message import EmailMessage

from batchmill.alerts.delivery import ATTEMPT_S, ChannelName
from batchmill.alerts.message import Message
from batchmill.mail.message import new_mail
from batchmill.mail.session import connected, told_of
from batchmill.settings.alerts import MailServer, read_mailbox

_HINT = "check SMTP_URL, MAIL_FROM and ADMIN_EMAILS; `batchmill budget alerts --test` tries them"


class MailChannel:
    """One mail an alert, to all recipients, over a connection of its own; see `connected`.

    Args:
        sender: A mailbox, as `read_mailbox` takes it.
        recipients: Likewise.
        attempt_s: Bounds one attempt.
    """

    name = ChannelName.MAIL

    def __init__(
        self, server: MailServer, *, sender: str, recipients: Sequence[str], attempt_s: float = ATTEMPT_S
    ) -> None:
        self._server = server
        self._sender = read_mailbox(sender)
        self._recipients = [read_mailbox(recipient) for recipient in recipients]
        self._attempt_s = attempt_s

    @property
    def target(self) -> str:
        """The recipients and the server."""
        return f"{', '.join(map(str, self._recipients))} by {self._server.name}"

    async def send(self, message: Message) -> str:
        """Hand it to the server; which of the recipients were refused, as long as one was not.

        Raises:
            DeliveryError: The server has not said that it took it. If only that answer was lost, the next try brings
                a second copy, with the same Message-ID.
        """
        to_be_reached = connected(
            self._server, domain=self._sender.domain, within_s=self._attempt_s, hint=_HINT
        )
        async with to_be_reached as session:
            refused = await session.address(self._sender, self._recipients)
            await session.hand_in(self.compose(message))
        return told_of(refused)

    def compose(self, message: Message) -> EmailMessage:
        """The mail: the same one, Message-ID and Date included, at every try."""
        mail = new_mail(
            verdict=message.verdict,
            sender=self._sender,
            recipients=self._recipients,
            at_ms=message.at_ms,
            message_id=f"{message.id}@{self._sender.domain}",
        )
        mail.set_content(message.text, cte="quoted-printable")
        return mail
