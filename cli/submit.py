"""`batchmill submit`: hand in a file of requests, and leave."""

from pathlib import Path

import click

from cli.home import home_option, settings_at
from cli.inputs import BatchArguments, InputArguments, dry_run_option, reads_input, takes_batch, tell_bad_line
from cli.output import counted, json_option, narrate, print_json


@click.command()
@reads_input
@takes_batch
@dry_run_option
@home_option
@json_option
def submit(
    given: InputArguments, batch: BatchArguments, dry_run: bool, home: Path | None, as_json: bool
) -> int:
    """Hand in a file of requests for workers to answer, and print the batch's id.

    INPUT holds requests in OpenAI's batch format, plain lines with a prompt, or a table (CSV); `-` is standard
    input. All of it is accepted, or nothing. `batchmill worker` answers it, here or on any machine that shares
    the database; `batchmill results` shows the answers.
    """
    from batchmill.clock import SystemClock
    from batchmill.logs import configure_logs
    from cli.progress import ProgressLine
    from cli.quote import quote_input
    from cli.stopping import Stop
    from workers import steering, submission
    from workers.assembly import make_home, prepared_database
    from workers.progress import Progress

    settings = settings_at(home)
    if dry_run:
        in_flight = settings.workers.concurrency * settings.workers.processes
        return 0 if quote_input(settings, given, batch, concurrency=in_flight, as_json=as_json) else 1
    configure_logs(settings.log)
    deadline_ms = batch.deadline_ms(SystemClock().now_ms())
    source = given.open(settings)
    make_home(settings.home)
    database = prepared_database(settings)
    nothing = "nothing was accepted"
    try:
        with Stop(outcome=nothing, outcome_at_once=nothing) as stop, ProgressLine() as progress:
            row = submission.submit(
                database,
                settings,
                source.lines(),
                batch.options(settings),
                deadline_ms=deadline_ms,
                on_bad_line=tell_bad_line,
                on_chunk=lambda lines: progress.show(Progress(phase="reading", completed=lines)),
                check=stop.check,
            )
        if as_json:
            print_json({"id": row.public_id, "total": row.total, "state": row.state})
        else:
            click.echo(row.public_id)
        narrate(f"{counted(row.total, 'request')} accepted")
        if advice := steering.call_workers(database, settings, row):
            narrate(advice)
    finally:
        source.release()
        database.close()
    return 0
