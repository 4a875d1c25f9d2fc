"""`batchmill status`: how a batch gets on."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchmill.requests.model import BatchState
from batchmill.settings import Settings
from cli.batch import batch_argument, open_batch
from cli.home import home_option, settings_at
from cli.output import counted, in_one_line, json_option, narrate, print_json, print_json_line
from cli.stopping import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from db.engine import Database

_PLAIN = ("lane", "endpoint", "job_name", "request_type", "tenant", "user", "agent", "upstream", "output")
_TIMES = ("created_at", "started_at", "ended_at", "deadline")


@click.command()
@batch_argument
@click.option("--watch", "watches", is_flag=True, help="Go on showing until it has ended or is paused.")
@home_option
@json_option
def status(batch: str, watches: bool, home: Path | None, as_json: bool) -> int:
    """Show how a batch gets on.

    BATCH is a batch's id, its first digits (six at least), or `latest`. With --watch the exit status is 0 only
    if every line is answered, and --json prints a document on a line of its own at each change.
    """
    settings = settings_at(home)
    with open_batch(settings, batch) as (database, row):
        if not watches:
            _print(database, row, as_json)
            return 0
        try:
            return _watch(database, settings, row, as_json)
        except KeyboardInterrupt:
            narrate("no longer watched; the batch goes on")
            return EXIT_INTERRUPTED


def _watch(database: "Database", settings: Settings, batch: Any, as_json: bool) -> int:
    from cli.progress import ProgressLine
    from workers.views import view_with_pace
    from workers.watching import is_all_answered

    seen = None
    with ProgressLine() as progress:
        for row in _looks(database, settings, batch):
            progress.show(_progress(database, row))
            if as_json and row != seen:
                print_json_line(view_with_pace(database, row))
            seen = row
    if not as_json:
        _print(database, row, as_json)
    return int(not is_all_answered(row))


def _looks(database: "Database", settings: Settings, batch: Any) -> Iterator[Any]:
    from workers.watching import stands_still, watch

    for row in watch(database, settings, batch):
        yield row
        if stands_still(row):
            return


def _progress(database: "Database", row: Any) -> Any:
    from db import results
    from workers.progress import Progress, progress_of
    from workers.waiting import waited_for

    if row.state == BatchState.VALIDATING:
        with database.read() as tx:
            return Progress(phase="reading", completed=results.taken_in(tx, row.id))
    if row.state == BatchState.PAUSED:
        return progress_of(row, "paused", row.paused_reason)
    if row.state == BatchState.FINALIZING:
        return progress_of(row, "writing", row.last_error)
    return progress_of(row, "answering", waited_for(database, row).in_words or row.last_error)


def _print(database: "Database", row: Any, as_json: bool) -> None:
    from workers.views import view_with_pace

    shown = view_with_pace(database, row)
    if as_json:
        print_json(shown)
        return
    lines = {name: text for name, text in _lines(shown, row.spent_nanos) if text}
    width = max(map(len, lines))
    for name, text in lines.items():
        click.echo(f"{name.ljust(width)}  {in_one_line(text)}")


def _lines(shown: dict[str, Any], spent_nanos: int) -> Iterator[tuple[str, str | None]]:
    from batchmill.money.nanos import format_usd

    yield "batch", shown["id"]
    yield "state", shown["state"]
    yield "paused", shown["paused_reason"]
    ends = [f"{shown[name]:,} {name}" for name in ("failed", "pending") if shown[name]]
    yield "lines", ", ".join([f"{shown['completed']:,} of {shown['total']:,} answered", *ends])
    yield "calls", f"{shown['calls']:,}; {shown['cached']:,} lines from the cache"
    yield "unknown", _unknown(shown)
    unpriced = (
        f", and {counted(shown['unpriced'], 'answer')} without a known price" if shown["unpriced"] else ""
    )
    yield "cost", format_usd(spent_nanos) + unpriced
    yield "pace", _pace(shown)
    yield "waits for", _waits_for(shown)
    for name in (*_PLAIN, *_TIMES):
        yield name.removesuffix("_at").replace("_", " "), shown[name]
    yield "last error", shown["last_error"]
    yield "removed", _removed(shown)


def _unknown(shown: dict[str, Any]) -> str | None:
    if not shown["unknown_attempts"]:
        return None
    calls = counted(shown["unknown_attempts"], "call")
    see = f"`batchmill budget reconcile --batch {shown['id']}`"
    return f"{calls} that may have been billed, not in the cost; {see} shows and settles them"


def _removed(shown: dict[str, Any]) -> str | None:
    if shown["removed_at"] is None:
        return None
    return f"its lines and answers, {shown['removed_at']}: they are kept so long as BATCHMILL_KEEP_BATCHES_DAYS says"


def _waits_for(shown: dict[str, Any]) -> str:
    return "; ".join(
        f"{one['provider']}/{one['model']}, which rests until {one['until']}: {one['reason'] or one['cause']}"
        for one in shown["waits_for"]
    )


def _pace(shown: dict[str, Any]) -> str | None:
    from cli.progress import duration

    if shown["left_s"] is None:
        return None
    return f"{shown['rate_per_s']:,.1f}/s, {duration(shown['left_s'])} left"
