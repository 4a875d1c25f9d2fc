"""`batchmill db`: the database's schema, and what is about to go from it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.home import home_option, settings_at
from cli.output import counted, json_option, narrate, print_json, print_table

if TYPE_CHECKING:
    from db.retention.foreseen import Foreseen

MB = 1_000_000


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


@db.command()
@home_option
@json_option
def retention(home: Path | None, as_json: bool) -> None:
    """Show what has been kept long enough, and goes the next time. Removes nothing.

    How long things are kept, BATCHMILL_KEEP_BATCHES_DAYS, BATCHMILL_KEEP_DIRECT_DAYS, BATCHMILL_KEEP_LEDGER_DAYS and
    BATCHMILL_KEEP_FILES_DAYS say; the job `retention` removes it, at the times that BATCHMILL_AT_RETENTION sets.
    Answers that others still use stay. Entries of the ledger are added up to daily rows.
    """
    from workers.assembly import existing_database
    from workers.retention import foresee
    from workers.retention_views import view

    settings = settings_at(home)
    database = existing_database(settings)
    try:
        found = foresee(settings, database)
    finally:
        database.close()
    if as_json:
        print_json(view(found, settings.retention))
        return
    print_table([_for_people(row) for row in view(found, settings.retention)["going"]])
    _tell_kept(found)


def _for_people(row: dict[str, Any]) -> dict[str, object]:
    size = row["bytes"]
    return {
        "what": row["kind"].replace("_", " "),
        "kept": _kept(row["kept_days"]),
        "going": f"{row['count']:,}",
        "mb": None if size is None else f"{size / MB:,.1f}",
        "from": row["first_at"],
        "to": row["last_at"],
    }


def _kept(days: int | None) -> str | None:
    if days is None:
        return "with their batch"
    return counted(days, "day") if days else "for ever"


def _tell_kept(found: "Foreseen") -> None:
    if found.kept_unknown:
        narrate(
            f"{_batches(found.kept_unknown)} would go too, but may have been billed for unknown"
            " calls: `batchmill budget reconcile` settles them"
        )
    if found.kept_webhook:
        narrate(f"{_batches(found.kept_webhook)} would go too, but the producer has not been told yet")


def _batches(number: int) -> str:
    return "1 batch" if number == 1 else f"{number:,} batches"
