"""`batchmill report usage`: a report of the last days, or of any other."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchmill.errors import BatchmillError, MisuseError
from cli.home import home_option, opened_database, settings_at
from cli.output import narrate
from cli.report_output import format_of, takes_output, write
from cli.text import Mailbox, Text

if TYPE_CHECKING:
    from batchmill.reports.model import Report
    from batchmill.settings import Settings

DEFAULT_DAYS = 7


@click.command()
@click.option(
    "--days",
    type=click.IntRange(1, 366),
    help=f"So many days, today so far included.  [default: {DEFAULT_DAYS}]",
)
@click.option("--since", metavar="TIME", help="From then on: a date, an ISO time, or a span back (24h, 7d).")
@click.option("--until", metavar="TIME", help="Up to but without then: the same.  [default: now]")
@click.option(
    "--timezone",
    type=Text(),
    metavar="ZONE",
    help="Whose days are meant: Europe/Berlin.  [default: BATCHMILL_TIMEZONE, UTC]",
)
@takes_output
@click.option(
    "--email",
    "recipients",
    type=Mailbox(),
    multiple=True,
    metavar="ADDRESS",
    help="Mail it to them, now; may be given several times. It is printed, too, if --format or --output is given.",
)
@home_option
def usage(
    days: int | None,
    since: str | None,
    until: str | None,
    timezone: str | None,
    how: str | None,
    output: Path | None,
    recipients: tuple[str, ...],
    home: Path | None,
) -> int:
    """Report what was used, what it cost, and what to look at.

    It is held against as many days before. Nothing is kept of it. With --email, exit status 1 if a mail was not
    taken by the mail server.
    """
    from workers.reports.gathering import make_report
    from workers.reports.spans import asked_for

    if days is not None and since is not None:
        raise MisuseError("--days and --since exclude each other", "leave out one of them")
    is_written = not recipients or how is not None or output is not None
    wanted = format_of(how, output) if is_written else ""
    settings = settings_at(home)
    with opened_database(home) as database:
        period = asked_for(
            days=DEFAULT_DAYS if days is None and since is None else days,
            since=since,
            until=until,
            timezone=timezone or settings.budgets.timezone,
            now_ms=database.now_ms(),
        )
        report = make_report(database, settings, period)
    if is_written:
        write(report, wanted, output)
    return _mail(report, settings, recipients)


def _mail(report: "Report", settings: "Settings", recipients: tuple[str, ...]) -> int:
    from workers.reports.resending import send_at_once

    is_sent = True
    for recipient in recipients:
        try:
            send_at_once(report, settings, recipient)
            narrate(f"sent to {recipient}")
        except BatchmillError as error:
            is_sent = False
            narrate(f"error: not sent to {recipient}: {error.message}")
            narrate(f"hint: {error.hint}")
    return 0 if is_sent else 1
