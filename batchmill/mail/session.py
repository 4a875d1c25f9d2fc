"""A mail server, and one connection to it in which one mail is handed in."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from typing import cast

from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)

from batchmill.errors import DeliveryError, RefusedMailError, UncertainMailError
from batchmill.settings.alerts import MailServer
from batchmill.settings.values import LOCAL_HOSTS, MASK

_QUIT_WITHIN_S = 1.0
_LONGEST_REASON = 300
_FOR_GOOD = 500
"""Answers from here on are the server's last word (RFC 5321, section 4.2.1)."""


@contextlib.asynccontextmanager
async def connected(
    server: MailServer, *, domain: str, within_s: float, hint: str
) -> AsyncIterator["Session"]:
    """A connection to a mail server, logged in, for as long as the context lasts.

    Of servers that offer no encryption only those on this machine are given a login. A certificate that the system
    does not trust is refused.

    Args:
        domain: As whose mail host we say hello.
        within_s: Bounds all of it, from the look-up of the host on, but for what `hand_in` bounds itself.
        hint: What to check when it does not work.

    Raises:
        DeliveryError: It cannot be had.
    """
    client = SMTP(
        hostname=server.host,
        port=server.port,
        use_tls=server.is_tls,
        local_hostname=domain,  # the default would be asked of the DNS
        timeout=within_s,
    )
    session = Session(server, client, within_s=within_s, hint=hint)
    try:
        await session.open()
        yield session
        # The mail has been taken, whatever comes now.
        with contextlib.suppress(TimeoutError, SMTPException, OSError):
            async with asyncio.timeout(_QUIT_WITHIN_S):
                await client.execute_command(b"QUIT")
    finally:
        await _let_go(client)


class Session:
    """A connection, logged in, in which one mail is handed in: first `address`, then `hand_in`.

    Only while `hand_in` waits for the server's answer nobody knows whether the mail has been taken.
    """

    def __init__(self, server: MailServer, client: SMTP, *, within_s: float, hint: str) -> None:
        self._server = server
        self._client = client
        self._within_s = within_s
        self._until = asyncio.get_running_loop().time() + within_s
        self._hint = hint

    async def open(self) -> None:
        """Connect and log in."""
        async with self._told():
            await self._client.connect()
            if not self._server.user:
                return
            is_encrypted = self._client.get_transport_info("sslcontext") is not None
            if not is_encrypted and self._server.host not in LOCAL_HOSTS:
                raise SMTPException("it offers no encryption, so it gets no password")
            await self._client.login(self._server.user, self._server.password)

    async def address(self, sender: Address, recipients: Sequence[Address]) -> dict[str, str]:
        """Say whom the mail is from and for; by recipient who was refused, why, as long as one was not.

        Raises:
            DeliveryError: The server takes no mail now, for none of them.
            RefusedMailError: It will not later either.
        """
        refused: dict[str, SMTPRecipientRefused] = {}
        async with self._told():
            await self._client.mail(sender.addr_spec)
            for recipient in recipients:
                try:
                    await self._client.rcpt(recipient.addr_spec)
                except SMTPRecipientRefused as error:
                    refused[recipient.addr_spec] = error
        told = {who: self._answer(error.code, error.message) for who, error in refused.items()}
        if len(refused) == len(recipients):
            raise self._failed(told_of(told), _kind(min(error.code for error in refused.values())))
        return told

    async def hand_in(self, mail: EmailMessage, *, within_s: float | None = None) -> None:
        """Hand it over; once this returns, the server has it, whatever comes then.

        Args:
            within_s: How long it may take; None = what is left of all the time.

        Raises:
            DeliveryError: The server does not take it now; it has said so.
            RefusedMailError: Nor will it later.
            UncertainMailError: The server may have taken it or not: its answer is missing.
        """
        until = self._until if within_s is None else asyncio.get_running_loop().time() + within_s
        try:
            async with asyncio.timeout_at(until):
                await self._client.data(bytes(mail), timeout=within_s or self._within_s)
        except SMTPResponseException as error:
            raise self._failed(self._answer(error.code, error.message), _kind(error.code)) from None
        except (TimeoutError, SMTPException, OSError) as error:
            told = "it may have taken the mail or not, as its answer is missing: "
            told += self._reason(error, within_s)
            raise self._failed(told, UncertainMailError) from None

    @contextlib.asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """What goes wrong is told in the server's words, in bounded time."""
        try:
            async with asyncio.timeout_at(self._until):
                yield
        except SMTPSenderRefused as error:
            raise self._failed(self._answer(error.code, error.message), _kind(error.code)) from None
        except (TimeoutError, SMTPException, OSError) as error:
            raise self._failed(self._reason(error)) from None

    def _failed(self, reason: str, kind: type[DeliveryError] = DeliveryError) -> DeliveryError:
        return kind(f"mail server {self._server.name}: {reason}", self._hint)

    def _reason(self, error: Exception, within_s: float | None = None) -> str:
        if isinstance(error, TimeoutError):
            return f"it did not answer within {self._within_s if within_s is None else within_s:g} s"
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


def told_of(refused: Mapping[str, str]) -> str:
    """By recipient who was refused, why; "" when nobody was."""
    return "; ".join(f"{who} was refused: {why}" for who, why in refused.items())


def _kind(code: int) -> type[DeliveryError]:
    return RefusedMailError if code >= _FOR_GOOD else DeliveryError


async def _let_go(client: SMTP) -> None:
    """Close its connection at once: TLS takes its leave by and by, and the loop ends before that."""
    if client.transport is not None:
        cast(asyncio.Transport, client.transport).abort()
    client.close()
    await asyncio.sleep(0)  # a turn of the loop, in which it is let go
