"""`batchmill config`: which settings are in force, and where each comes from."""

from dataclasses import asdict

import click

from cli.home import settings_at
from cli.output import json_option, print_json, print_table


@click.command()
@json_option
def config(as_json: bool) -> None:
    """Show the settings in force and where each comes from.

    Variables of the environment count first, then those of the file BATCHMILL_SECRETS, then those of a .env file
    in the working directory, then the defaults. Secrets are masked.
    """
    rows = [asdict(setting) for setting in settings_at().describe()]
    if as_json:
        print_json(rows)
    else:
        print_table(rows)
