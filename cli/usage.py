"""`batchmill usage`: what was used and what it cost, from the ledger."""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchmill.errors import NotFoundError
from batchmill.money.nanos import format_usd, usd_text
from batchmill.money.summary import Column, Group, Selection, Summary, Sums
from batchmill.periods import zone_of
from cli.home import home_option, settings_at
from cli.output import json_option, print_json, print_table
from cli.points import point_of
from cli.text import Text

if TYPE_CHECKING:
    from db.engine import Database

TOTALS = ("requests", "calls", "hits", "unknown")
AMOUNTS = (*TOTALS, "unpriced", "input_tokens", "cached_tokens", "output_tokens")
FILTERS = [column for column in Column if column is not Column.DAY]


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

    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    zone = zone_of(timezone)
    columns = tuple(Column(name) for name in dict.fromkeys(by))
    database = existing_database(settings_at(home))
    try:
        selection = _selection(database, since, until, zone, only)
        summary = summarize(database, columns, selection, zone=zone)
    finally:
        database.close()
    if as_json:
        print_json(_as_json(summary))
    elif as_csv:
        _print_csv(columns, summary.groups)
    else:
        print_table([*map(_for_people, summary.groups), _total_for_people(columns, summary.total)])


def _selection(
    database: "Database", since: str | None, until: str | None, zone: tzinfo, only: dict[str, str | None]
) -> Selection:
    now_ms = database.now_ms()
    wanted = {Column(name.removeprefix("only_")): value for name, value in only.items() if value is not None}
    if Column.BATCH in wanted:
        wanted[Column.BATCH] = _batch_meant(database, wanted[Column.BATCH])
    selection = Selection(
        since_ms=point_of("--since", since, zone=zone, now_ms=now_ms),
        until_ms=point_of("--until", until, zone=zone, now_ms=now_ms),
        only=wanted,
    )
    _refuse_backward(selection, since, until)
    return selection


def _batch_meant(database: "Database", name: str) -> str:
    """The whole id of a batch that is named as everywhere: by its first digits, or as `latest`."""
    from workers.naming import batch_named

    try:
        public_id: str = batch_named(database, name).public_id
    except NotFoundError:
        if name.isdecimal():  # what a batch is called that is gone; its entries are not
            return name
        raise
    return public_id


def _refuse_backward(selection: Selection, since: str | None, until: str | None) -> None:
    since_ms, until_ms = selection.since_ms, selection.until_ms
    if since_ms is not None and until_ms is not None and since_ms > until_ms:
        raise click.UsageError(f"--since {since} is later than --until {until}")


def _as_json(summary: Summary) -> dict[str, Any]:
    total = {name: getattr(summary.total, name) for name in TOTALS}
    return {
        "rows": [_exact(group) for group in summary.groups],
        "total": total | {"cost_usd": usd_text(summary.total.cost_nanos)},
    }


def _print_csv(columns: Sequence[Column], groups: Sequence[Group]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, *AMOUNTS, "cost_usd"])
    writer.writerows(_exact(group).values() for group in groups)
    click.echo(text.getvalue(), nl=False)


def _exact(group: Group) -> dict[str, Any]:
    names = {column.value: name for column, name in group.names.items()}
    return names | _amounts(group.sums) | {"cost_usd": usd_text(group.sums.cost_nanos)}


def _for_people(group: Group) -> dict[str, Any]:
    names = {column.value: name or None for column, name in group.names.items()}
    return names | _amounts(group.sums) | {"cost": format_usd(group.sums.cost_nanos)}


def _total_for_people(columns: Sequence[Column], total: Sums) -> dict[str, Any]:
    names = dict.fromkeys((column.value for column in columns), "") | {columns[0].value: "total"}
    return names | _amounts(total) | {"cost": format_usd(total.cost_nanos)}


def _amounts(sums: Sums) -> dict[str, int]:
    return {name: getattr(sums, name) for name in AMOUNTS}
