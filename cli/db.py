"""`batchmill db`: the database's schema."""

from pathlib import Path

import click

from cli.home import home_option, settings_at
from cli.output import json_option, narrate, print_json


@click.group()
def db() -> None:
    """Prepare and look after the database."""


@db.command()
@home_option
@json_option
def upgrade(home: Path | None, as_json: bool) -> None:
    """Bring the database's schema up to date. Safe to run at any time, twice."""
    from db import schema
    from workers.assembly import make_database

    database = make_database(settings_at(home))
    try:
        before = schema.version(database)
        changed = schema.upgrade(database)
    finally:
        database.close()
    if as_json:
        print_json({"changed": changed, "from": before, "to": schema.newest()})
    elif changed:
        narrate(f"upgraded from {before or 'an empty database'} to {schema.newest()}")
    else:
        narrate(f"already at {schema.newest()}")
