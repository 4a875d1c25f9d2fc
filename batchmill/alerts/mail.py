"""Alerts by mail."""

import asyncio
import base64
import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from typing import cast

from aiosmtplib import SMTP, SMTPException, SMTPRecipientsRefused, SMTPResponseException

from batchmill.alerts.delivery import ATTEMPT_S, ChannelName
from batchmill.alerts.message import Message
from batchmill.errors import DeliveryError
from batchmill.settings.alerts import MailServer, read_mailbox
from batchmill.settings.values import LOCAL_HOSTS, MASK

_ONE_LINE_A_HEADER = SMTP_POLICY.clone(max_line_length=998)
"""Folded at 78 characters, a long subject would begin on a line of its own, which some programs show as empty."""

_ENCODED_HEADERS = SMTP_POLICY.clone(max_line_length=76)
"""What is not ASCII has to be folded: a line of encoded words is not longer (RFC 2047, section 2)."""

_QUIT_WITHIN_S = 1.0
_LONGEST_REASON = 300


class MailChannel:
    """One mail an alert, to all recipients, over a connection of its own.

    Of servers that offer no encryption only those on this machine are given a login. A certificate that the system
    does not trust is refused.

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
        client = SMTP(
            hostname=self._server.host,
            port=self._server.port,
            use_tls=self._server.is_tls,
            local_hostname=self._sender.domain,  # the default would be asked of the DNS
            timeout=self._attempt_s,
        )
        try:
            async with asyncio.timeout(self._attempt_s):
                refused = await self._hand_in(client, message)
        except TimeoutError:
            raise self._not_delivered(f"it did not answer within {self._attempt_s:g} s") from None
        except (SMTPException, OSError) as error:
            raise self._not_delivered(self._reason(error)) from None
        else:
            # It has been taken, whatever comes now.
            with contextlib.suppress(TimeoutError, SMTPException, OSError):
                async with asyncio.timeout(_QUIT_WITHIN_S):
                    await client.execute_command(b"QUIT")
            return _told_of(refused)
        finally:
            await _let_go(client)

    async def _hand_in(self, client: SMTP, message: Message) -> dict[str, str]:
        """By recipient who was refused, why."""
        await client.connect()
        if self._server.user:
            is_encrypted = client.get_transport_info("sslcontext") is not None
            if not is_encrypted and self._server.host not in LOCAL_HOSTS:
                raise SMTPException("it offers no encryption, so it gets no password")
            await client.login(self._server.user, self._server.password)
        recipients = [recipient.addr_spec for recipient in self._recipients]
        refused, _ = await client.sendmail(self._sender.addr_spec, recipients, bytes(self.compose(message)))
        return {who: self._answer(why.code, why.message) for who, why in refused.items()}

    def compose(self, message: Message) -> EmailMessage:
        """The mail: the same one, Message-ID and Date included, at every try."""
        mail = EmailMessage(_ONE_LINE_A_HEADER if message.verdict.isascii() else _ENCODED_HEADERS)
        mail["Subject"] = f"[batchmill] {message.verdict}"
        mail["From"] = self._sender
        mail["To"] = self._recipients
        mail["Date"] = format_datetime(datetime.fromtimestamp(message.at_ms // 1000, UTC))
        mail["Message-ID"] = f"<{message.id}@{self._sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text, cte="quoted-printable")
        return mail

    def _not_delivered(self, reason: str) -> DeliveryError:
        return DeliveryError(
            f"mail server {self._server.name}: {reason}",
            "check SMTP_URL, MAIL_FROM and ADMIN_EMAILS; `batchmill budget alerts --test` tries them",
        )

    def _reason(self, error: Exception) -> str:
        if isinstance(error, SMTPRecipientsRefused):
            return _told_of({one.recipient: self._answer(one.code, one.message) for one in error.recipients})
        if isinstance(error, SMTPResponseException):
            return self._answer(error.code, error.message)
        return self._shortened(str(error) or type(error).__name__)

    def _answer(self, code: int, words: str) -> str:
        return self._shortened(f"{code} {words}")

    def _shortened(self, text: str) -> str:
        told = "".join(char if char.isprintable() else " " for char in self._without_secrets(text))
        return " ".join(told.split())[:_LONGEST_REASON]

    def _without_secrets(self, text: str) -> str:
        """A server may say again what it was told, as it was told it."""
        user, password = self._server.user.encode(), self._server.password.encode()
        if not password:
            return text
        # The longest first: the others may be a part of it.
        for said in (b"\0" + user + b"\0" + password, user + b"\0" + password, password):
            text = text.replace(base64.b64encode(said).decode(), MASK)
        return text.replace(self._server.password, MASK)


async def _let_go(client: SMTP) -> None:
    """Close its connection at once: TLS takes its leave by and by, and the loop ends before that."""
    if client.transport is not None:
        cast(asyncio.Transport, client.transport).abort()
    client.close()
    await asyncio.sleep(0)  # a turn of the loop, in which it is let go


def _told_of(refused: Mapping[str, str]) -> str:
    """By recipient who was refused, why; "" when nobody was."""
    return "; ".join(f"{who} was refused: {why}" for who, why in refused.items())
