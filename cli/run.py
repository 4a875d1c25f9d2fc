"""`batchmill run`: answer a file of requests."""

import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import click

from batchmill.clock import SystemClock
from batchmill.errors import MisuseError, StoppedError
from batchmill.results.files import STANDARD_STREAMS
from batchmill.settings import load_settings
from cli.inputs import BatchArguments, InputArguments, reads_input, takes_batch, tell_bad_line
from cli.output import json_option, narrate, print_json

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
@click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), help="Folder for the embedded parts."
)
@click.option("--fresh", is_flag=True, help="Give up an unfinished batch for the same output and start over.")
@json_option
def run(
    given: InputArguments,
    output: Path,
    errors: Path | None,
    batch: BatchArguments,
    workers: int | None,
    concurrency: int | None,
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
    from workers.assembly import require_key
    from workers.runs import Run, Wanted

    settings = load_settings(overrides={"BATCHMILL_HOME": str(home.absolute())} if home else None)
    require_key(settings)
    processes = workers or settings.workers.processes
    in_flight = concurrency or settings.workers.concurrency
    deadline_ms = batch.deadline_ms(SystemClock().now_ms())
    wanted = Wanted(
        source=given.open(settings),
        output=_real(output),
        errors=_real(errors or default_errors_path(output)),
        options=batch.options(settings),
        deadline_ms=deadline_ms,
        processes=min(processes, in_flight),
        concurrency=in_flight,
        fresh=fresh,
    )
    configure_logs(settings.log)
    with _Stop() as stop, ProgressLine() as progress:
        report = Run(settings, wanted, watch=progress.show, bad_line=tell_bad_line, check=stop.check).run()
    if as_json:
        print_json(_as_json(report))
    else:
        _tell(report)
    return 0 if report.progress.completed == report.progress.total else 1


def _real(path: Path) -> Path:
    """The file itself, however it is spelt: it tells one batch from another."""
    real = Path(os.path.realpath(path)) if str(path) not in STANDARD_STREAMS else path
    try:
        str(real).encode()
    except UnicodeEncodeError:
        raise MisuseError(f"the name {str(real)!a} is not UTF-8", "name another file") from None
    return real


class _Stop:
    """Signals: the first is noted and seen at the next check, the second ends the run where it stands."""

    def __init__(self) -> None:
        self._number: int | None = None

    def __enter__(self) -> "_Stop":
        self._handle(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle(signal.SIG_IGN)  # nothing is left to be stopped

    def check(self) -> None:
        """Raise StoppedError once a signal has come."""
        if self._number is not None:
            name = signal.Signals(self._number).name
            raise StoppedError(f"stopped by {name}; nothing is lost", AGAIN)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._number is None:
            self._number = number
            return
        self._handle(signal.SIG_IGN)
        raise StoppedError(
            "stopped at once; calls cut off may have been billed, nothing is lost", AGAIN, True
        )

    @staticmethod
    def _handle(handler: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, handler)


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
        f"{_count(progress.calls, 'call')}, {progress.cached:,} from the cache, {format_usd(progress.spent_nanos)}"
    )
    if progress.unpriced:
        narrate(
            f"not in that sum: {_count(progress.unpriced, 'answer')} without a known price;"
            " `batchmill providers add` can give one"
        )
    if progress.unknown_attempts:
        narrate(
            f"not in that sum: {_count(progress.unknown_attempts, 'call')} recorded as unknown, which may have been"
            " billed without an answer"
        )
    if progress.expired:
        narrate(f"the deadline has passed: {_count(progress.expired, 'line')} not asked any more")
    if report.errors:
        narrate(f"{progress.failed:,} failed: {_shown(report.errors)}")
    narrate(f"answers: {_shown(report.output)}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _shown(path: Path) -> Path:
    """A path as one would type it here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
