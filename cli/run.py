"""`batchmill run`: answer a file of requests."""

from pathlib import Path
from typing import Any

import click

from batchmill.clock import SystemClock
from cli.home import home_option, settings_at
from cli.inputs import BatchArguments, InputArguments, dry_run_option, reads_input, takes_batch, tell_bad_line
from cli.output import counted, json_option, narrate, print_json
from cli.paths import real_path, shown_path
from cli.stopping import Stop

AGAIN = "run the same command again: it goes on"


@click.command()
@reads_input
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Where the answers go.")
@click.option(
    "--errors", type=click.Path(path_type=Path), help="Where failed lines go.  [default: OUT.errors.jsonl]"
)
@takes_batch
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Worker processes.  [default: BATCHMILL_WORKERS, 1]"
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    help="Calls in flight at most, over all its processes.  [default: BATCHMILL_CONCURRENCY, 64]",
)
@dry_run_option
@home_option
@click.option("--fresh", is_flag=True, help="Give up an unfinished batch for the same output and start over.")
@json_option
def run(
    given: InputArguments,
    output: Path,
    errors: Path | None,
    batch: BatchArguments,
    workers: int | None,
    concurrency: int | None,
    dry_run: bool,
    home: Path | None,
    fresh: bool,
    as_json: bool,
) -> int:
    """Answer a file of requests, each exactly once.

    INPUT holds requests in OpenAI's batch format, plain lines with a prompt, or a table (CSV); `-` is standard
    input. The answers come in input order; lines that failed go to the errors file. Interrupted, even by
    kill -9, the same command goes on where it was. Exit status 0 only if every line is answered.
    """
    from batchmill.logs import configure_logs
    from batchmill.results.files import default_errors_path
    from cli.progress import ProgressLine
    from cli.quote import quote_input
    from workers.addresses import upstreams_of
    from workers.assembly import require_account
    from workers.runs import Run
    from workers.undertaking import Wanted

    settings = settings_at(home)
    if dry_run:
        return 0 if quote_input(settings, given, batch, concurrency=concurrency, as_json=as_json) else 1
    require_account(settings)
    processes = workers or settings.workers.processes
    in_flight = concurrency or settings.workers.concurrency
    deadline_ms = batch.deadline_ms(SystemClock().now_ms())
    wanted = Wanted(
        source=given.open(settings),
        output=real_path(output),
        errors=real_path(errors or default_errors_path(output)),
        options=batch.options(settings),
        upstreams=upstreams_of(settings),
        deadline_ms=deadline_ms,
        processes=min(processes, in_flight),
        concurrency=in_flight,
        fresh=fresh,
    )
    configure_logs(settings.log)
    with Stop(AGAIN) as stop, ProgressLine() as progress:
        report = Run(settings, wanted, watch=progress.show, bad_line=tell_bad_line, check=stop.check).run()
    if as_json:
        print_json(_as_json(report))
    else:
        _tell(report)
    return 0 if report.progress.completed == report.progress.total else 1


def _as_json(report: Any) -> dict[str, Any]:
    from batchmill.money.nanos import usd_text

    progress = report.progress
    return {
        "batch_id": report.batch_id,
        "total": progress.total,
        "completed": progress.completed,
        "failed": progress.failed,
        "expired": progress.expired,
        "cached": progress.cached,
        "calls": progress.calls,
        "unknown_attempts": progress.unknown_attempts,
        "cost_usd": usd_text(progress.spent_nanos),
        "elapsed_s": round(report.elapsed_s, 3),
        "output": str(report.output),
        "errors": str(report.errors) if report.errors else None,
    }


def _tell(report: Any) -> None:
    from batchmill.money.nanos import format_usd

    progress = report.progress
    narrate(
        f"{progress.completed:,} of {progress.total:,} answered in {report.elapsed_s:.1f} s: "
        f"{counted(progress.calls, 'call')}, {progress.cached:,} from the cache, {format_usd(progress.spent_nanos)}"
    )
    if progress.unpriced:
        narrate(
            f"not in that sum: {counted(progress.unpriced, 'answer')} without a known price;"
            " `batchmill providers add` can give one"
        )
    if progress.unknown_attempts:
        narrate(
            f"not in that sum: {counted(progress.unknown_attempts, 'call')} recorded as unknown, which may have been"
            " billed without an answer"
        )
    if progress.expired:
        narrate(f"the deadline has passed: {counted(progress.expired, 'line')} not asked any more")
    if report.errors:
        narrate(f"{progress.failed:,} failed: {shown_path(report.errors)}")
    narrate(f"answers: {shown_path(report.output)}")
