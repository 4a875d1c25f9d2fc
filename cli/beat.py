"""`batchmill beat`: rings for what is due."""

import click

from cli.home import settings_at
from cli.output import narrate


@click.command()
def beat() -> None:
    """Ring for what is due: the sweep, every 10 seconds. A `batchmill worker --maintenance` answers.

    Run as many as you like: they only ring, and one sweep runs at a time.
    """
    from batchmill.logs import configure_logs
    from schedules.entries import entries
    from workers.app import MAINTENANCE, broker_of, make_app
    from workers.production import keep_time

    settings = settings_at()
    configure_logs(settings.log)
    app = make_app(broker_of(settings), (MAINTENANCE,))
    narrate("beat rings for " + ", ".join(entries()) + "; stop it with Ctrl-C or SIGTERM")
    keep_time(app, entries())
