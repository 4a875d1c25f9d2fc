"""What the commands about one batch have in common."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from batchmill.settings import Settings
from cli.output import print_json_line

if TYPE_CHECKING:
    from db.engine import Database

batch_argument: Callable[[Callable[..., Any]], Callable[..., Any]] = click.argument("batch", metavar="BATCH")


@contextmanager
def open_database(settings: Settings) -> "Iterator[Database | None]":
    """The database in force; None where there is none yet, and none is made."""
    from batchmill.logs import configure_logs
    from workers.assembly import seen_database

    configure_logs(settings.log)
    database = seen_database(settings)
    try:
        yield database
    finally:
        if database is not None:
            database.close()


@contextmanager
def open_batch(settings: Settings, name: str) -> "Iterator[tuple[Database, Any]]":
    """The database in force, and in it the row of the batch that is meant.

    Raises:
        NotFoundError: There is no such batch.
    """
    from workers.naming import batch_named

    with open_database(settings) as database:
        row = batch_named(database, name)
        assert database is not None
        yield database, row


def print_state(row: Any, as_json: bool) -> None:
    """Print what has become of a batch, in a line."""
    if as_json:
        print_json_line({"id": row.public_id, "state": row.state})
    else:
        click.echo(f"{row.public_id} {row.state}")
