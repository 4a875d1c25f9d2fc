"""`batchmill schedules`: what runs by itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.home import home_option, opened_database, settings_at
from cli.output import json_option, narrate, print_json, print_table
from cli.text import Text

if TYPE_CHECKING:
    from db.schedules import RunRow
    from workers.timekeeping import Standing

RUNS = 20


@click.group()
def schedules() -> None:
    """What runs by itself: when, how it went, and a run by hand.

    Times are set by BATCHMILL_AT_... variables, by the calendar of BATCHMILL_TIMEZONE. `batchmill beat` with a
    `batchmill worker --maintenance` keeps them; on one machine `batchmill up` and `batchmill worker` do.
    """


@schedules.command("list")
@click.argument("job", required=False, type=Text())
@click.option(
    "--runs",
    type=click.IntRange(1, 10_000),
    help=f"The last runs, so many, instead of the jobs.  [default with JOB: {RUNS}]",
)
@home_option
@json_option
def list_(job: str | None, runs: int | None, home: Path | None, as_json: bool) -> None:
    """Show the jobs, when they are due and how they went last; of one JOB, its last runs.

    Moments are UTC. A run is done, running, failed (it is tried again, five times in all) or killed: whoever ran it
    is gone, and another takes over. The newest 200 runs of each job are kept.
    """
    from db import schedules as rows
    from workers.timekeeping import job_named, run_view, standings, view

    settings = settings_at(home)
    wanted = job_named(job) if job is not None else None
    with opened_database(home) as database:
        if wanted is None and runs is None:
            found = standings(settings, database)
            print_json(list(map(view, found))) if as_json else _print_standings(found)
            return
        with database.read() as tx:
            listed = rows.listed(tx, wanted, most=runs or RUNS)
    print_json(list(map(run_view, listed))) if as_json else _print_runs(listed)


@schedules.command()
@click.argument("job", type=Text())
@home_option
@json_option
def run(job: str, home: Path | None, as_json: bool) -> None:
    """Run a JOB now, in this process, and print what came of it.

    It is due now: a report, say, is of the day before. While somebody else runs it, it is refused. Ctrl-C stops it
    at its next step.
    """
    from batchmill.logs import configure_logs
    from cli.stopping import Stop
    from workers.assembly import prepared_database
    from workers.timekeeping import job_named, run_by_hand

    wanted, settings = job_named(job), settings_at(home)
    configure_logs(settings.log)
    database = prepared_database(settings)
    try:
        with Stop(outcome_at_once="what it had done by then stays done") as stop:
            detail = run_by_hand(settings, database, wanted, stopping=lambda: stop.is_told)
    finally:
        database.close()
    if as_json:
        print_json(dict(detail))
    else:
        _print_detail(wanted, detail)


def _print_standings(found: "list[Standing]") -> None:
    print_table([_standing_row(standing) for standing in found])
    for standing in found:
        if standing.note:
            narrate(f"{standing.job}: {standing.note}")


def _standing_row(standing: "Standing") -> dict[str, Any]:
    from workers.timekeeping import view

    shown = view(standing)
    last = shown["last_run"] or dict.fromkeys(("started_at", "state", "took_s", "outcome", "owner"))
    return {
        "job": shown["job"],
        "when": "all the time" if standing.note else shown["when"],
        "next_due": shown["next_due_at"],
        "last_run": last["started_at"],
        "state": last["state"],
        "took": _took(last["took_s"]),
        "outcome": last["outcome"],
        "by": _by(last["owner"]),
        "what_it_does": shown["meaning"],
    }


def _print_runs(listed: "list[RunRow]") -> None:
    from workers.timekeeping import run_view

    print_table([_run_row(run_view(one)) for one in listed])
    if not listed:
        narrate("there was no such run yet")


def _run_row(shown: dict[str, Any]) -> dict[str, Any]:
    return {
        "job": shown["job"],
        "due": shown["due_at"],
        "began": shown["started_at"],
        "state": shown["state"],
        "tries": shown["tries"],
        "took": _took(shown["took_s"]),
        "outcome": shown["outcome"],
        "by": _by(shown["owner"]),
    }


def _print_detail(job: str, detail: Any) -> None:
    from workers.jobs.turn import in_words

    click.echo(in_words(detail))
    narrate(f"{job} is done")


def _took(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:,.1f} s"


def _by(owner: str | None) -> str | None:
    """Machine and process."""
    return None if owner is None else owner.rpartition("/")[0]
