"""`batchmill alerts`: what people were told, of budgets and of health, and whether it reached them."""

from pathlib import Path

import click

from batchmill.alerts.message import Topic
from cli.alert_output import show_alerts, show_trials
from cli.home import home_option, settings_at
from cli.output import json_option


@click.group()
def alerts() -> None:
    """See what people were told, of budgets and of health, and whether it reached them.

    Each alert goes to the log, by mail (SMTP_URL, ADMIN_EMAILS) and to a webhook (BATCHMILL_WEBHOOK_URL,
    BATCHMILL_WEBHOOK_SECRET). What fails is tried again for seven days.
    """


@alerts.command("list")
@click.option(
    "--topic", type=click.Choice([topic.value for topic in Topic]), help="Only alerts of this kind."
)
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Show at most so many."
)
@home_option
@json_option
def list_alerts(topic: str | None, limit: int, home: Path | None, as_json: bool) -> None:
    """Show the alerts, newest first, and how far each has come."""
    chosen = None if topic is None else Topic(topic)
    show_alerts(settings_at(home), chosen, limit, as_json=as_json, none="there has been no alert yet")


@alerts.command()
@home_option
@json_option
def test(home: Path | None, as_json: bool) -> int:
    """Send a test alert through every channel, and tell how it went.

    Exit status 1 if a channel does not work or lacks a variable.
    """
    return show_trials(settings_at(home), None, as_json=as_json)
