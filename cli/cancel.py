"""`batchmill cancel`: end batches early."""

from pathlib import Path

import click

from batchmill.errors import ConflictError
from batchmill.requests.model import BatchState
from cli.batch import open_database, print_state
from cli.home import home_option, settings_at
from cli.output import json_option, narrate, print_error


@click.command()
@click.argument("names", metavar="BATCH...", nargs=-1, required=True)
@home_option
@json_option
def cancel(names: tuple[str, ...], home: Path | None, as_json: bool) -> int:
    """End batches early.

    BATCH is a batch's id, its first digits (six at least), or `latest`. Nothing new is sent; calls in flight
    finish or are cut off within seconds. What has been answered stays, for `batchmill results`. --json prints a
    document on a line of its own for each batch.
    """
    from workers import steering
    from workers.naming import batch_named

    settings = settings_at(home)
    refused = 0
    with open_database(settings) as database:
        found = {row.id: row for row in (batch_named(database, name) for name in names)}
        assert database is not None
        for named in found.values():
            try:
                row = steering.cancel(database, settings, named)
            except ConflictError as error:
                print_error(error.message, error.hint)
                refused += 1
                continue
            print_state(row, as_json)
            if row.state == BatchState.CANCELLING:
                narrate("it ends as soon as its last calls have")
    return int(refused > 0)
