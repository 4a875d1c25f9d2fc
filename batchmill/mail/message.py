"""What every mail of ours has in common: its headers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime

_ONE_LINE_A_HEADER = SMTP_POLICY.clone(max_line_length=998)
"""Folded at 78 characters, a long subject would begin on a line of its own, which some programs show as empty."""

_ENCODED_HEADERS = SMTP_POLICY.clone(max_line_length=76)
"""What is not ASCII has to be folded: a line of encoded words is not longer (RFC 2047, section 2)."""


def new_mail(
    *, verdict: str, sender: Address, recipients: Sequence[Address], at_ms: int, message_id: str
) -> EmailMessage:
    """A mail without a body.

    Args:
        verdict: What it says, in one line of printable characters; its subject.
        at_ms: When what it tells of was found, so that every try has the same date.
        message_id: Without its brackets.
    """
    mail = EmailMessage(_ONE_LINE_A_HEADER if verdict.isascii() else _ENCODED_HEADERS)
    mail["Subject"] = f"[batchmill] {verdict}"
    mail["From"] = sender
    mail["To"] = recipients
    mail["Date"] = format_datetime(datetime.fromtimestamp(at_ms // 1000, UTC))
    mail["Message-ID"] = f"<{message_id}>"
    mail["Auto-Submitted"] = "auto-generated"
    return mail
