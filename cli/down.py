"""`batchmill down`: ends what `batchmill up` or `serve` started."""

from pathlib import Path

import click

from cli.home import home_option, settings_at
from cli.output import narrate


@click.command()
@home_option
def down(home: Path | None) -> None:
    """End the service of this home, whoever started it. Calls in flight may finish; nothing is lost."""
    from workers.serving.notice import Board

    running = Board(settings_at(home)).end()
    narrate(f"the service at {running.url} has ended")
