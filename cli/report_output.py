"""Where the commands of `report` write a report, and in which format."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchmill.errors import MisuseError, OutputError
from cli.output import narrate

if TYPE_CHECKING:
    from batchmill.reports.model import Report

FORMATS = ("text", "json", "html", "csv")
_ENDINGS = {".txt": "text", ".json": "json", ".html": "html", ".htm": "html", ".csv": "csv"}


def takes_output(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--format` and `--output`."""
    for option in (
        click.option(
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Write it there instead of to standard output.",
        ),
        click.option(
            "--format",
            "how",
            type=click.Choice(FORMATS),
            help="How it is written.  [default: by the ending of --output, else text]",
        ),
    ):
        command = option(command)
    return command


def format_of(how: str | None, output: Path | None) -> str:
    """The format that is wanted.

    Raises:
        MisuseError: It is HTML, and would go to a terminal.
    """
    wanted = how or (_ENDINGS.get(output.suffix.lower(), "text") if output else "text")
    if wanted == "html" and output is None and sys.stdout.isatty():
        raise MisuseError(
            "HTML is for a browser, and this is a terminal", "add --output report.html, or leave --format out"
        )
    return wanted


def write(report: "Report", how: str, output: Path | None) -> None:
    """Write a report.

    Raises:
        OutputError: The file cannot be written.
    """
    from batchmill.reports.formats import ReportFormat, rendered

    document = rendered(report, ReportFormat(how))
    if output is None:
        click.echo(document, nl=False)
        return
    try:
        output.write_bytes(document)
    except OSError as error:
        raise OutputError(
            f'"{output}" cannot be written: {error.strerror}', "name a file in a folder that you may write to"
        ) from None
    narrate(f"written to {output}")
