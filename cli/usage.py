"""`batchmill usage`: what was used and what it cost, from the ledger."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from batchmill.money.nanos import format_usd
from batchmill.money.summary import FILTERS, Column, Group, Sums
from batchmill.periods import zone_of
from cli.home import home_option, settings_at
from cli.output import json_option, print_json, print_table
from cli.text import Text


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for column in reversed(FILTERS):
        command = click.option(
            f"--{column}",
            f"only_{column}",
            type=Text(),
            metavar=column.upper(),
            help=f"Only what is of this {column}.",
        )(command)
    return command


@click.command()
@click.option(
    "--by",
    multiple=True,
    type=click.Choice([column.value for column in Column]),
    default=[Column.MODEL.value],
    show_default=True,
    help="A row for each value of this; give it several times for combinations.",
)
@click.option("--since", metavar="TIME", help="From then on: a date, an ISO time, or a span back (24h, 7d).")
@click.option("--until", metavar="TIME", help="Up to but without then: the same.")
@_filters
@click.option(
    "--timezone", default="UTC", show_default=True, help="Whose days and dates are meant: Europe/Berlin."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for spreadsheets.")
@home_option
@json_option
def usage(
    by: tuple[str, ...],
    since: str | None,
    until: str | None,
    timezone: str,
    as_csv: bool,
    home: Path | None,
    as_json: bool,
    **only: str | None,
) -> None:
    """Show what was used and what it cost, dearest first.

    The cost is what is known to have been spent: neither calls whose outcome is unknown nor answers without a
    known price are in it, so they are counted beside it. A request may be in several rows; the total counts it
    once.
    """
    from db.usage import summarize
    from workers.assembly import existing_database
    from workers.usage import selected, view

    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    zone = zone_of(timezone)
    columns = tuple(Column(name) for name in dict.fromkeys(by))
    database = existing_database(settings_at(home))
    try:
        selection = selected(
            database,
            since=since,
            until=until,
            zone=zone,
            only={Column(name.removeprefix("only_")): value for name, value in only.items()},
            named="--{}".format,
        )
        summary = summarize(database, columns, selection, zone=zone)
    finally:
        database.close()
    if as_json:
        print_json(view(summary))
    elif as_csv:
        _print_csv(columns, summary.groups)
    else:
        print_table([*map(_for_people, summary.groups), _total_for_people(columns, summary.total)])


def _print_csv(columns: Sequence[Column], groups: Sequence[Group]) -> None:
    from workers.usage import AMOUNTS, group_view

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, *AMOUNTS, "cost_usd"])
    writer.writerows(group_view(group).values() for group in groups)
    click.echo(text.getvalue(), nl=False)


def _for_people(group: Group) -> dict[str, Any]:
    from workers.usage import amounts

    names = {column.value: name or None for column, name in group.names.items()}
    return names | amounts(group.sums) | {"cost": format_usd(group.sums.cost_nanos)}


def _total_for_people(columns: Sequence[Column], total: Sums) -> dict[str, Any]:
    from workers.usage import amounts

    names = dict.fromkeys((column.value for column in columns), "") | {columns[0].value: "total"}
    return names | amounts(total) | {"cost": format_usd(total.cost_nanos)}
