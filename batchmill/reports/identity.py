"""By what the mails of reports are known."""

import hashlib

from batchmill.reports.model import Report


def message_id_of(report: Report, *, installation: str, recipient: str, domain: str) -> str:
    """The Message-ID, without brackets: always the same of an installation, a report and a recipient, so that a mail
    that comes twice is known to be the same.

    Args:
        installation: Its id, by which the mails of two of them are told apart.
        domain: The sender's.
    """
    period = report.period
    facts = "\n".join((installation, period.kind, str(period.start_ms), recipient))
    digest = hashlib.sha256(facts.encode()).hexdigest()[:24]
    return f"report-{period.name}-{digest}@{domain}"
