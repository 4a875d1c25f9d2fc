"""`batchmill budget alerts`: what owners of budgets were told, and whether it reached them."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.batch import open_database
from cli.home import home_option, settings_at
from cli.output import counted, json_option, narrate, print_json, print_table

if TYPE_CHECKING:
    from batchmill.alerts.message import Alert
    from batchmill.settings import Settings
    from db.budgets.alerts import Delivery


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
        return _try_out(settings, as_json)
    _show(settings, limit, as_json)
    return 0


def _show(settings: "Settings", limit: int, as_json: bool) -> None:
    from db.budgets.alerts import listed
    from workers.alert_views import view

    found: list[tuple[Alert, list[Delivery]]] = []
    with open_database(settings) as database:
        if database is not None:
            with database.read() as tx:
                found = listed(tx, most=limit)
    if as_json:
        print_json([view(alert, deliveries) for alert, deliveries in found])
        return
    print_table([alert_as_row(alert, deliveries) for alert, deliveries in found])
    if not found:
        narrate("no budget has given an alert yet")
    tell_failures([delivery for _, deliveries in found for delivery in deliveries])


def alert_as_row(alert: "Alert", deliveries: "list[Delivery]") -> dict[str, object]:
    """An alert and its deliveries as a row of a table."""
    from batchmill.alerts.delivery import ChannelName
    from batchmill.alerts.message import utc_text

    states = {delivery.channel: delivery.state.value.replace("_", " ") for delivery in deliveries}
    return {
        "at": utc_text(alert.at_ms),
        "severity": alert.severity.value,
        "alert": alert.verdict,
        **{channel.value: states.get(channel) for channel in ChannelName},
    }


def tell_failures(deliveries: "list[Delivery]") -> None:
    """Say which of them have not arrived, or not with everybody, and whether they are tried again."""
    from batchmill.alerts.delivery import ChannelName, DeliveryState

    for channel in ChannelName:
        failed = [one for one in deliveries if one.channel is channel and one.error]
        sent = [one for one in failed if one.state is DeliveryState.SENT]
        waiting = [one for one in failed if one.state is DeliveryState.PENDING]
        given_up = [one for one in failed if one.state is DeliveryState.GIVEN_UP]
        if sent:
            narrate(f"{channel}: {counted(len(sent), 'alert')} did not reach everybody: {sent[0].error}")
        if waiting:
            narrate(f"{channel}: {counted(len(waiting), 'alert')} will be tried again: {waiting[0].error}")
        if given_up:
            narrate(
                f"{channel}: {counted(len(given_up), 'alert')} given up after seven days: {given_up[0].error}"
            )


def _try_out(settings: "Settings", as_json: bool) -> int:
    from batchmill.clock import SystemClock
    from batchmill.logs import configure_logs
    from workers.alerts import try_out

    configure_logs(settings.log)
    trials = list(try_out(settings, SystemClock().now_ms()))
    rows = [
        {
            "channel": trial.channel.value,
            "target": trial.target or None,
            "delivered": trial.is_delivered,
            "error": trial.error or None,
        }
        for trial in trials
    ]
    if as_json:
        print_json(rows)
    else:
        print_table([row | {"delivered": "yes" if row["delivered"] else "no"} for row in rows])
        for trial in trials:
            if trial.hint:
                narrate(f"hint: {trial.hint}")
    return 0 if all(trial.is_delivered for trial in trials) else 1
