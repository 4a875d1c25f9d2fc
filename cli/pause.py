"""`batchmill pause`: let a batch stand still."""

from pathlib import Path

import click

from cli.batch import batch_argument, open_batch, print_state
from cli.home import home_option, settings_at
from cli.output import json_option, narrate
from cli.text import Name


@click.command()
@batch_argument
@click.option("--reason", type=Name(), default="", help="Why, for whoever looks at it.")
@home_option
@json_option
def pause(batch: str, reason: str, home: Path | None, as_json: bool) -> None:
    """Let no new call of a batch start until it is resumed.

    BATCH is a batch's id, its first digits (six at least), or `latest`. Calls in flight finish. A
    `batchmill run` whose batch is paused waits.
    """
    from workers import steering

    settings = settings_at(home)
    with open_batch(settings, batch) as (database, found):
        row = steering.pause(database, settings, found, reason)
    print_state(row, as_json)
    narrate(f"calls in flight finish, no other starts; `batchmill resume {row.public_id}` lets it go on")
