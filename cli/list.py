"""`batchmill list`: the batches there are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from batchmill.requests.model import BatchState
from cli.batch import open_database
from cli.home import home_option, settings_at
from cli.output import json_option, narrate, print_json, print_table
from cli.text import Text


@click.command()
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in BatchState]),
    help="Only batches in this state; may be given several times.",
)
@click.option("--job-name", type=Text(), help="Only batches of this job.")
@click.option("--tenant", type=Text(), help="Only batches of this tenant.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many at most."
)
@click.option("--after", metavar="BATCH", help="Only batches older than this one: the next page.")
@home_option
@json_option
def list(
    states: tuple[str, ...],
    job_name: str | None,
    tenant: str | None,
    limit: int,
    after: str | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Show the batches there are, newest first."""
    from db import listings
    from workers.naming import batch_named
    from workers.views import view

    settings = settings_at(home)
    with open_database(settings) as database:
        before = batch_named(database, after).id if after is not None else None
        rows: Any = ()
        if database is not None:
            with database.read() as tx:
                rows = listings.page(
                    tx,
                    most=limit + 1,
                    before=before,
                    states=[BatchState(state) for state in states],
                    job_name=job_name,
                    tenant=tenant,
                )
    views = [view(row) for row in rows[:limit]]
    if as_json:
        print_json(views)
    else:
        print_table(_lines(views, rows))
    if database is None:
        narrate(f"no batches: there is no database yet at {settings.database.path}")
    elif not views:
        narrate("no batches" if not (states or job_name or tenant or after) else "no such batches")
    elif len(rows) > limit:
        narrate(f"there are more: `batchmill list --after {views[-1]['id']}`")


def _lines(views: Sequence[dict[str, Any]], rows: Sequence[Any]) -> Sequence[dict[str, object]]:
    lines = [_line(shown, row.spent_nanos) for shown, row in zip(views, rows, strict=False)]
    if any(shown["removed_at"] for shown in views):
        return [line | {"removed": shown["removed_at"]} for line, shown in zip(lines, views, strict=True)]
    return lines


def _line(shown: dict[str, Any], spent_nanos: int) -> dict[str, object]:
    from batchmill.money.nanos import format_usd

    return {
        "id": shown["id"],
        "state": shown["state"],
        "lane": shown["lane"],
        "done": f"{shown['completed']}/{shown['total']}",
        "failed": shown["failed"],
        "cost": format_usd(spent_nanos),
        "created": shown["created_at"],
        "job_name": shown["job_name"],
    }
