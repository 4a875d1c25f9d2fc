"""`batchmill health`: how the parts of the mill are."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.home import home_option, settings_at
from cli.output import json_option, narrate, print_json, print_table

if TYPE_CHECKING:
    from batchmill.health.course import HealthState
    from batchmill.settings import Settings
    from workers.health.standing import Standing


@click.command()
@click.option("--now", is_flag=True, help="Check everything now; nothing is noted, and nobody is told.")
@click.option("--changes", is_flag=True, help="Show what has changed of late instead.")
@home_option
@json_option
def health(now: bool, changes: bool, home: Path | None, as_json: bool) -> int:
    """Show how providers, broker, database, beat, workers, disk, queues and jobs are, as last checked.

    The checks are made by the job `health` (BATCHMILL_AT_HEALTH), which also sends the alerts. Exit status 1 if
    something is failing, or nobody has checked for too long.
    """
    from workers.health.standing import standing_view

    if now and changes:
        raise click.UsageError("--now and --changes exclude each other")
    settings = settings_at(home)
    standing = _seen_now(settings) if now else _last_checked(settings)
    if as_json:
        print_json(standing_view(standing))
    elif changes:
        _show_changes(standing)
    else:
        _show(standing.components)
    if standing.is_overdue:
        narrate(_overdue(settings, standing.components))
    return 0 if standing.is_well else 1


def _last_checked(settings: "Settings") -> "Standing":
    from workers.assembly import existing_database
    from workers.health.standing import last_checked

    database = existing_database(settings)
    try:
        return last_checked(settings, database)
    finally:
        database.close()


def _seen_now(settings: "Settings") -> "Standing":
    from batchmill.errors import DatabaseError
    from batchmill.logs import configure_logs
    from workers.assembly import make_database, prepared_database
    from workers.health.standing import seen_now

    configure_logs(settings.log)
    try:
        database = prepared_database(settings)
    except DatabaseError:  # the checks say what is wrong with it, and how the others are
        database = make_database(settings, patience_s=1.0)
    try:
        return seen_now(settings, database)
    finally:
        database.close()


def _show(components: "Sequence[HealthState]") -> None:
    from workers.views import time_text

    print_table(
        [
            {
                "level": one.level.value,
                "component": one.component,
                "since": time_text(one.since_ms),
                "checked": time_text(one.checked_ms),
                "finding": one.message,
            }
            for one in components
        ]
    )
    for one in components:
        if one.hint:
            narrate(f"{one.component}: {one.hint}")


def _show_changes(standing: "Standing") -> None:
    from workers.health.standing import change_view

    print_table([change_view(change) for change in standing.changes])
    if not standing.changes:
        narrate("nothing has changed so far")


def _overdue(settings: "Settings", components: "Sequence[HealthState]") -> str:
    from workers.views import time_text

    if not components:
        return "nothing has been checked yet: the job `health` does it, or `batchmill health --now`"
    last = time_text(max(one.checked_ms for one in components))
    if settings.broker.is_embedded:
        return f"nobody has checked since {last}: an embedded home is checked while `batchmill up` runs"
    return f"nobody has checked since {last}: see that `batchmill beat` and a `batchmill worker --maintenance` run"
