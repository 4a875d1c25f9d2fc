"""Whom alerts go to besides the log: a mail server, a webhook."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from email.headerregistry import Address
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, SecretStr

from batchmill.settings.fields import Group, setting
from batchmill.settings.values import can_be_looked_up, http_url

SECRET_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)

_PORTS = {"smtp": 587, "smtps": 465}
_ADDRESS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?"
_MAILBOX = re.compile(rf"(?P<name>[^<>@,;:\"\\]*)<(?P<address>{_ADDRESS})>|{_ADDRESS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Where mail is handed in.

    Attributes:
        is_tls: Encrypted from the first byte on; else as soon as the server offers it (STARTTLS).
        user: "" = it is used without a login.
    """

    host: str
    port: int
    is_tls: bool
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """Without user and password, for anyone's eyes."""
        return f"{self.host}:{self.port}"


def mail_server(url: str) -> MailServer:
    """The server that an SMTP URL names.

    Raises:
        ValueError: It names none; nothing of the URL is in the message, as it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(
            "its host or port cannot be read; write / ? # @ : in a password as %2F etc."
        ) from None
    if parts.scheme not in _PORTS:
        raise ValueError("it begins neither with smtp:// nor with smtps://")
    if not can_be_looked_up(parts.hostname) or port == 0 or not url.isascii() or not url.isprintable():
        raise ValueError("it names no host, or no port, that can be called")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("something follows the host; write / ? # @ : in a password as %2F etc.")
    return _server(parts, port or _PORTS[parts.scheme])


def _server(parts: SplitResult, port: int) -> MailServer:
    assert parts.hostname is not None
    if parts.password is not None and not parts.username:
        raise ValueError("it has a password, and no user")
    return MailServer(
        host=parts.hostname,
        port=port,
        is_tls=parts.scheme == "smtps",
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def _smtp_url(secret: SecretStr) -> SecretStr:
    mail_server(secret.get_secret_value())
    return secret


def _mailboxes(text: str) -> str:
    for one in text.split(","):
        read_mailbox(one.strip())
    return text


def _mailbox(text: str) -> str:
    read_mailbox(text)
    return text


def read_mailbox(text: str) -> Address:
    """A mail address, with a name or without. The name may be any text: written out, it is quoted as mail has it.

    Raises:
        ValueError: It is none.
    """
    found = _MAILBOX.fullmatch(text)
    if found is None or not text.isprintable() or ".." in text:
        raise ValueError(f'"{text}" is no mail address')
    user, _, domain = (found["address"] or text).partition("@")
    return Address((found["name"] or "").strip(), user, domain)


def _webhook_url(secret: SecretStr) -> SecretStr:
    check_webhook_url(secret.get_secret_value())
    return secret


def check_webhook_url(url: str) -> None:
    """Refuse what no webhook can be posted to.

    Raises:
        ValueError: What is wrong with it; nothing of the URL is in the message, as it may hold a secret.
    """
    try:
        http_url(url)
    except ValueError:  # whose words may hold a part of it
        raise ValueError("it names no host that can be called, or holds a user or password") from None
    if not url.isascii() or urlsplit(url).fragment:
        raise ValueError("it has a #, or characters that are not ASCII; percent-encode them")


def _webhook_secret(secret: SecretStr) -> SecretStr:
    if len(signing_key(secret)) not in SECRET_BYTES:
        raise ValueError(f"it has to be the base64 of {SECRET_BYTES[0]} to {SECRET_BYTES[-1]} bytes")
    return secret


def signing_key(secret: SecretStr) -> bytes:
    """The bytes that a webhook's secret stands for, in the notation of Standard Webhooks.

    Raises:
        ValueError: It is no base64.
    """
    try:
        return base64.b64decode(secret.get_secret_value().removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("it is no base64") from None


SmtpUrl = Annotated[SecretStr, AfterValidator(_smtp_url)]
Mailbox = Annotated[str, AfterValidator(_mailbox)]
Mailboxes = Annotated[str, AfterValidator(_mailboxes)]
WebhookUrl = Annotated[SecretStr, AfterValidator(_webhook_url)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]


class MailSettings(Group):
    """Who gets alerts and reports by mail, and through which server: SMTP_URL and ADMIN_EMAILS are both needed."""

    smtp_url: SmtpUrl | None = setting(
        None,
        "SMTP_URL",
        meaning="The mail server. With smtp:// it is encrypted where the server offers it (STARTTLS).",
        accepts="smtp://user:password@host:587, smtps://user:password@host:465, or either without a login",
    )
    sender: Mailbox | None = setting(
        None,
        "MAIL_FROM",
        meaning="Whom mail comes from; the first of ADMIN_EMAILS if not set.",
        accepts="mill@example.com or Batchmill <mill@example.com>",
    )
    admins: Mailboxes | None = setting(
        None,
        "ADMIN_EMAILS",
        meaning="Who gets the alerts and the reports.",
        accepts="mail addresses, comma between",
    )

    @property
    def server(self) -> MailServer | None:
        """The mail server."""
        return None if self.smtp_url is None else mail_server(self.smtp_url.get_secret_value())

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who gets the alerts and the reports."""
        return () if self.admins is None else tuple(one.strip() for one in self.admins.split(","))

    @property
    def missing(self) -> str:
        """The variable without which no mail goes out; "" when all are set, or none is wanted."""
        if self.smtp_url is None and self.admins is not None:
            return "SMTP_URL"
        return "ADMIN_EMAILS" if self.admins is None and self.smtp_url is not None else ""


class WebhookSettings(Group):
    """Where alerts are posted to; and webhooks of any kind, [Standard Webhooks](https://www.standardwebhooks.com)."""

    url: WebhookUrl | None = setting(
        None,
        "BATCHMILL_WEBHOOK_URL",
        meaning="Where alerts are posted to; it counts as a secret.",
        accepts="http:// or https:// and a host",
    )
    secret: WebhookSecret | None = setting(
        None,
        "BATCHMILL_WEBHOOK_SECRET",
        meaning="What webhooks are signed with; without it none is posted. `openssl rand -base64 32` makes one.",
        accepts="the base64 of 24 to 64 bytes, with or without whsec_ before it",
    )
    to_private: bool = setting(
        False,
        "BATCHMILL_WEBHOOKS_TO_PRIVATE",
        meaning="Whether the webhooks of batches may go to addresses that are not on the public internet.",
        accepts="true or false",
    )

    @property
    def missing(self) -> str:
        """The variable without which no alert is posted although one is wanted; "" if there is none."""
        return "BATCHMILL_WEBHOOK_SECRET" if self.secret is None and self.url is not None else ""
