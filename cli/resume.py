"""`batchmill resume`: let a paused batch go on."""

from pathlib import Path

import click

from cli.batch import batch_argument, open_batch, print_state
from cli.home import home_option, settings_at
from cli.output import json_option, narrate


@click.command()
@batch_argument
@home_option
@json_option
def resume(batch: str, home: Path | None, as_json: bool) -> None:
    """Let a paused batch go on.

    BATCH is a batch's id, its first digits (six at least), or `latest`. An interrupted `batchmill run` goes on
    by the same command, not by this one.
    """
    from workers import steering

    settings = settings_at(home)
    with open_batch(settings, batch) as (database, found):
        row = steering.resume(database, settings, found)
        print_state(row, as_json)
        if advice := steering.call_workers(database, settings, row):
            narrate(advice)
