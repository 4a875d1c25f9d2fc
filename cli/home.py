"""The home that a command works in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchmill import failpoints
from batchmill.settings import Settings, load_settings
from cli.output import narrate

if TYPE_CHECKING:
    from db.engine import Database

home_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), help="Folder for the embedded parts."
)


def settings_at(home: Path | None = None) -> Settings:
    """The settings in force, with that home if one is named; what is to be said of them is told."""
    settings = load_settings(overrides={"BATCHMILL_HOME": str(home.absolute())} if home else None)
    failpoints.arm(settings.failpoint)
    for warning in settings.warnings:
        narrate(f"warning: {warning}")
    return settings


@contextmanager
def opened_database(home: Path | None) -> "Iterator[Database]":
    """The database in force, for those who add up; an empty one while there is none."""
    with database_of(settings_at(home)) as database:
        yield database


@contextmanager
def database_of(settings: Settings) -> "Iterator[Database]":
    """The same of settings that have been read."""
    from workers.assembly import existing_database

    database = existing_database(settings)
    try:
        yield database
    finally:
        database.close()
