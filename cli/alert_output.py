"""How alerts are shown: what was told, whether it reached people, and how a test went."""

from typing import TYPE_CHECKING

from batchmill.alerts.message import Topic
from cli.batch import open_database
from cli.output import counted, narrate, print_json, print_table

if TYPE_CHECKING:
    from batchmill.alerts.alert import Alert
    from batchmill.settings import Settings
    from db.alerts import Delivery


def show_alerts(settings: "Settings", topic: Topic | None, limit: int, *, as_json: bool, none: str) -> None:
    """Print the newest alerts, of all topics or of one, and how far each has come.

    Args:
        none: Said where there are none.
    """
    from db.alerts import listed
    from workers.alert_views import view

    found: list[tuple[Alert, list[Delivery]]] = []
    with open_database(settings) as database:
        if database is not None:
            with database.read() as tx:
                found = listed(tx, topic, most=limit)
    if as_json:
        print_json([view(alert, deliveries) for alert, deliveries in found])
        return
    print_table([alert_as_row(alert, deliveries) for alert, deliveries in found])
    if not found:
        narrate(none)
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


def show_trials(settings: "Settings", topic: Topic | None, *, as_json: bool) -> int:
    """Send a test alert through every channel and print how it went; the exit status."""
    from batchmill.clock import SystemClock
    from batchmill.logs import configure_logs
    from workers.alerts import try_out

    configure_logs(settings.log)
    trials = list(try_out(settings, SystemClock().now_ms(), topic))
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
