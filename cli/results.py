"""`batchmill results`: the answers of a batch."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchmill.errors import ConflictError, MisuseError
from batchmill.requests.model import BatchState
from batchmill.settings import Settings
from cli.batch import batch_argument, open_batch
from cli.home import home_option, settings_at
from cli.output import counted, narrate
from cli.paths import real_path, shown_path
from cli.stopping import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from db.engine import Database


@click.command()
@batch_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the answers to a file.")
@click.option(
    "--errors", type=click.Path(path_type=Path), help="Where failed lines go.  [default: OUT.errors.jsonl]"
)
@click.option("--partial", is_flag=True, help="With -o: write what there is of a batch that has not ended.")
@click.option("--follow", is_flag=True, help="Print each line as it comes, until the batch has ended.")
@home_option
def results(
    batch: str, output: Path | None, errors: Path | None, partial: bool, follow: bool, home: Path | None
) -> int:
    """Print the results of a batch, or write them to files.

    BATCH is a batch's id, its first digits (six at least), or `latest`. Without -o every line that has ended,
    answered or failed, is printed in OpenAI's output format: in input order, or with --follow in the order in
    which they end. Exit status 0 only if every line is answered.
    """
    _refuse_misuse(output, errors, partial, follow)
    settings = settings_at(home)
    with open_batch(settings, batch) as (database, row):
        _refuse_without_results(row)
        if output is not None:
            return _write(database, settings, row, output, errors, partial)
        if not follow:
            return _print(database, row)
        try:
            return _follow(database, settings, row)
        except KeyboardInterrupt:
            narrate("no longer followed; the batch goes on")
            return EXIT_INTERRUPTED


def _refuse_misuse(output: Path | None, errors: Path | None, partial: bool, follow: bool) -> None:
    if output is None and (errors is not None or partial):
        raise MisuseError("--errors and --partial go with -o", "name a file for the answers, with -o")
    if output is not None and follow:
        raise MisuseError(
            "--follow prints, -o writes a file once the batch has ended", "leave out one of them"
        )


def _refuse_without_results(row: Any) -> None:
    from workers.removed import refuse_removed

    refuse_removed(row)
    if row.state == BatchState.FAILED:
        raise ConflictError(
            f"batch {row.public_id} was not accepted: {row.last_error}", "correct that, then submit it again"
        )
    if row.ended_ms is not None and not row.total:
        how = "it expired" if row.state == BatchState.EXPIRED else "it was cancelled"
        raise ConflictError(
            f"batch {row.public_id} has no results: {how} before its input had been read",
            "hand it in again if it is still wanted",
        )


def _print(database: "Database", row: Any) -> int:
    from workers.delivery import ended_lines

    printed = answered = 0
    for line, is_answered in ended_lines(database, row):
        sys.stdout.buffer.write(line)
        printed, answered = printed + 1, answered + is_answered
    sys.stdout.buffer.flush()
    if row.state == BatchState.VALIDATING:
        narrate(f"batch {row.public_id} has no results yet: its input is still being read")
    elif printed < row.total:
        narrate(f"{counted(row.total - printed, 'line')} of {row.total:,} still open: it is {row.state}")
    return int(not 0 < row.total == answered)


def _follow(database: "Database", settings: Settings, batch: Any) -> int:
    from workers.following import Follower
    from workers.watching import is_all_answered, is_all_said, stands_still, watch

    follower = Follower(database, settings, batch)
    told = ""
    for row in watch(database, settings, batch):
        for line, _ in follower.new_lines():
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        if is_all_said(row):
            break
        if stands_still(row) and row.paused_reason != told:
            narrate(f"batch {row.public_id} is paused: {row.paused_reason}; waiting until it goes on")
        told = row.paused_reason if stands_still(row) else ""
    return int(not is_all_answered(row))


def _write(
    database: "Database", settings: Settings, row: Any, output: Path, errors: Path | None, partial: bool
) -> int:
    from batchmill.results.files import check_writable, default_errors_path
    from workers import attendance
    from workers.delivery import write_files
    from workers.progress import failed_of, open_of
    from workers.watching import is_all_answered

    output, errors = real_path(output), real_path(errors or default_errors_path(output))
    still_open, failed = open_of(row), failed_of(row)
    if (still_open or not row.total) and not partial:
        raise ConflictError(
            f"batch {row.public_id} has not ended: it is {row.state}, {counted(still_open, 'line')} still open",
            "wait for it with `batchmill status --watch`, or take what there is with --partial",
        )
    check_writable([output, errors])
    with attendance.attend(settings, output):
        write_files(database, row, output, errors)
    if still_open:
        narrate(f"{counted(still_open, 'line')} of {row.total:,} still open")
    if failed:
        narrate(f"{failed:,} failed: {shown_path(errors)}")
    narrate(f"answers: {shown_path(output)}")
    return int(not is_all_answered(row))
