"""`batchmill report`: what was used, told as the nightly mail tells it; and which of those were sent to whom."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.home import home_option, opened_database, settings_at
from cli.lazy import LazyCommand, LazyGroup
from cli.output import counted, json_option, narrate, print_json, print_table
from cli.report_output import format_of, takes_output, write
from cli.text import Mailbox, Text

if TYPE_CHECKING:
    from db.reports.store import ListedReport

ELSEWHERE = {
    "usage": LazyCommand(module="cli.report_usage", help="Report the last days, and mail that if you like."),
}


@click.group(cls=LazyGroup, lazy_commands=ELSEWHERE)
def report() -> None:
    """Reports: what was used, what it cost, what to look at.

    The job `usage-report` makes one every night and mails it to ADMIN_EMAILS; `weekly-report` likewise each week.
    A report is called for by its number, its name (daily-2026-11-05), or as `latest`.
    """


@report.command("list")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Show at most so many."
)
@home_option
@json_option
def list_(limit: int, home: Path | None, as_json: bool) -> None:
    """Show the reports that were made, newest first, and to whom each was sent.

    A mail is `unknown` when its sender was killed, or the mail server's answer was lost, while it was handed over:
    it is not sent again by itself.
    """
    from db.reports.store import listed
    from workers.reports.views import listed_view

    with opened_database(home) as database, database.read() as tx:
        found = listed(tx, most=limit)
    if as_json:
        print_json([listed_view(one) for one in found])
        return
    print_table([_row(one) for one in found])
    if not found:
        narrate("no report has been made yet")
    for one in found:
        _tell_undelivered(one)


@report.command()
@click.argument("name", metavar="REPORT", type=Text())
@takes_output
@home_option
def show(name: str, how: str | None, output: Path | None, home: Path | None) -> None:
    """Show a report that was made, as it was then."""
    from db.reports.store import named

    wanted = format_of(how, output)
    with opened_database(home) as database, database.read() as tx:
        found = named(tx, name).report
    write(found, wanted, output)


@report.command()
@click.argument("name", metavar="REPORT", type=Text())
@click.option(
    "--to",
    "recipients",
    type=Mailbox(),
    multiple=True,
    metavar="ADDRESS",
    help="To whom; also somebody who has it already, or was never to get it. May be given several times.",
)
@home_option
def resend(name: str, recipients: tuple[str, ...], home: Path | None) -> int:
    """Send a report again, to all who may not have it, or to those named.

    Somebody who got it after all can tell that it is the same: it has the same Message-ID.
    """
    from workers.reports.resending import resend as send

    settings = settings_at(home)
    with opened_database(home) as database:
        outcomes = send(database, settings, name, recipients)
    for recipient, outcome in outcomes.items():
        narrate(f"sent to {recipient}" if not outcome else f"not sent to {recipient}: {outcome}")
    return 1 if any(outcomes.values()) else 0


def _row(one: "ListedReport") -> dict[str, Any]:
    from batchmill.alerts.message import utc_text
    from batchmill.reports.delivery import DeliveryState

    states = [delivery.state for delivery in one.deliveries]
    told = ", ".join(
        f"{states.count(state)} {state.replace('_', ' ')}" for state in DeliveryState if state in states
    )
    return {"id": one.id, "report": one.name, "made": utc_text(one.made_ms), "mails": told or None}


def _tell_undelivered(one: "ListedReport") -> None:
    from batchmill.reports.delivery import DeliveryState

    for delivery in one.deliveries:
        if delivery.state is not DeliveryState.SENT:
            why = f": {delivery.error}" if delivery.error else ""
            tries = counted(delivery.tries, "try") if delivery.tries == 1 else f"{delivery.tries} tries"
            state = delivery.state.replace("_", " ")
            narrate(f"{one.name} to {delivery.recipient} is {state} after {tries}{why}")
