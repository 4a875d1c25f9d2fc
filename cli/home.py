"""The home that a command works in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from batchmill.settings import Settings, load_settings
from cli.output import narrate

home_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), help="Folder for the embedded parts."
)


def settings_at(home: Path | None = None) -> Settings:
    """The settings in force, with that home if one is named; what is to be said of them is told."""
    settings = load_settings(overrides={"BATCHMILL_HOME": str(home.absolute())} if home else None)
    for warning in settings.warnings:
        narrate(f"warning: {warning}")
    return settings
