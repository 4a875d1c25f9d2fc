"""`batchmill beat`: rings for what is due."""

import click

from cli.home import settings_at
from cli.output import narrate


@click.command()
def beat() -> None:
    """Ring for what is due, every BATCHMILL_BEAT_S seconds. A `batchmill worker --maintenance` answers.

    Run as many as you like: they only ring. What is due, and that it is done once, stands in the database;
    `batchmill schedules list` shows it.
    """
    from batchmill.logs import configure_logs
    from schedules.entries import entries
    from workers.app import MAINTENANCE, broker_of, make_app
    from workers.production import keep_time

    settings = settings_at()
    configure_logs(settings.log)
    app = make_app(broker_of(settings), (MAINTENANCE,))
    ring_s = settings.schedules.ring_s
    narrate(f"beat rings every {ring_s} s for what is due; stop it with Ctrl-C or SIGTERM")
    keep_time(app, entries(ring_s))
