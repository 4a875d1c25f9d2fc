"""`batchmill budget alerts`: what owners of budgets were told, and whether it reached them."""

from pathlib import Path

import click

from batchmill.alerts.message import Topic
from cli.alert_output import show_alerts, show_trials
from cli.home import home_option, settings_at
from cli.output import json_option


@click.command()
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Show at most so many."
)
@click.option("--test", is_flag=True, help="Send a test alert through every channel, and tell how it went.")
@home_option
@json_option
def alerts(limit: int, test: bool, home: Path | None, as_json: bool) -> int:
    """Show the alerts that budgets have given, newest first, and how far each has come.

    Each goes to the log, by mail (SMTP_URL, ADMIN_EMAILS) and to a webhook (BATCHMILL_WEBHOOK_URL,
    BATCHMILL_WEBHOOK_SECRET). What fails is tried again for seven days. With --test, exit status 1 if a channel
    does not work or lacks a variable.
    """
    settings = settings_at(home)
    if test:
        return show_trials(settings, Topic.BUDGET, as_json=as_json)
    show_alerts(settings, Topic.BUDGET, limit, as_json=as_json, none="no budget has given an alert yet")
    return 0
