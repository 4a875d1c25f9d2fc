"""A report as a mail: text, the same as HTML with its chart, and the CSV. To one recipient, who sees no other."""

import hashlib
from email.headerregistry import Address
from email.message import EmailMessage

from batchmill.mail.message import new_mail
from batchmill.reports.chart import chart_png
from batchmill.reports.html import html_of
from batchmill.reports.model import Report
from batchmill.reports.sheet import sheet_of
from batchmill.reports.text import text_of
from batchmill.reports.verdict import verdict_of


def mail_of(report: Report, *, sender: Address, recipient: Address, message_id: str) -> EmailMessage:
    """The mail: byte for byte the same at every try."""
    mail = new_mail(
        verdict=verdict_of(report),
        sender=sender,
        recipients=[recipient],
        at_ms=report.made_ms,
        message_id=message_id,
    )
    name = report.period.name
    mail["List-Id"] = f"batchmill reports <reports.batchmill.{sender.domain}>"
    mail["X-Auto-Response-Suppress"] = "All"  # what Microsoft's servers go by
    mail["X-Batchmill-Report"] = name
    mail.set_content(text_of(report), cte="quoted-printable")
    chart_id = f"chart-{message_id}"
    mail.add_alternative(html_of(report, chart_src=f"cid:{chart_id}"), subtype="html", cte="quoted-printable")
    html = mail.get_payload(1)
    assert isinstance(html, EmailMessage)
    html.add_related(
        chart_png(report.days),
        "image",
        "png",
        cid=f"<{chart_id}>",
        filename="chart.png",
        disposition="inline",
    )
    mail.add_attachment(
        # With a byte order mark: without one, Excel takes it for another encoding.
        sheet_of(report).encode("utf-8-sig"),
        maintype="text",
        subtype="csv",
        params={"charset": "utf-8"},
        filename=f"batchmill-{name}.csv",
    )
    _fix_boundaries(mail, message_id)
    return mail


def _fix_boundaries(mail: EmailMessage, message_id: str) -> None:
    """Those that the library makes up are others each time."""
    for nth, part in enumerate(part for part in mail.walk() if part.is_multipart()):
        digest = hashlib.sha256(f"{message_id}/{nth}".encode()).hexdigest()[:32]
        part.set_boundary(f"=_{digest}")
