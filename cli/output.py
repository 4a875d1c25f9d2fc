"""What every command prints with: data on standard output, narration on standard error."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
import orjson

COLUMN_GAP = "  "

json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for other programs."
)


def narrate(text: str) -> None:
    """Tell the person at the terminal how it is going, in one line; never part of the data."""
    with contextlib.suppress(OSError):  # nobody is there to be told: the terminal is closed, or the pipe
        click.echo(in_one_line(text), err=True)


def in_one_line(text: str) -> str:
    """The text with escapes for what would break the line or steer the terminal: it may be a provider's."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def print_error(message: str, hint: str = "") -> None:
    """Say what went wrong and what to do next, as every command says it."""
    narrate(f"error: {message}")
    if hint:
        narrate(f"hint: {hint}")


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2))


def print_json_line(value: Any) -> None:
    """Print one JSON document on a line of its own, at once."""
    click.echo(orjson.dumps(value))


def counted(number: int, noun: str) -> str:
    """Return "1 call", "2,000 calls"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows under the names of their fields, in columns; None as a dash, nothing for no rows.

    Plain text without borders, the same on a terminal and in a pipe, so that grep and awk can read it.
    """
    if not rows:
        return
    names = list(rows[0])
    cells = [[name.upper().replace("_", " ") for name in names]]
    cells += [["-" if row[name] is None else in_one_line(str(row[name])) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    for line in cells:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(COLUMN_GAP.join(padded).rstrip())
