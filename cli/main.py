"""The `batchmill` command: its subcommands, and what becomes of an error."""

import gc
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from batchmill.errors import BatchmillError
from cli.lazy import LazyCommand, LazyGroup
from cli.output import narrate, print_error
from cli.stopping import EXIT_INTERRUPTED

EXIT_DONE = 0
EXIT_FAILED = 1

COMMANDS = {
    "run": LazyCommand(module="cli.run", help="Answer a file of requests, each exactly once."),
    "submit": LazyCommand(module="cli.submit", help="Hand in a file of requests for workers to answer."),
    "quote": LazyCommand(module="cli.quote", help="Show what a file of requests will cost."),
    "estimate": LazyCommand(module="cli.estimate", help="Show what one request costs."),
    "status": LazyCommand(module="cli.status", help="Show how a batch gets on."),
    "results": LazyCommand(
        module="cli.results", help="Print the results of a batch, or write them to files."
    ),
    "list": LazyCommand(module="cli.list", help="Show the batches there are, newest first."),
    "cancel": LazyCommand(module="cli.cancel", help="End batches early."),
    "pause": LazyCommand(module="cli.pause", help="Let no new call of a batch start."),
    "resume": LazyCommand(module="cli.resume", help="Let a paused batch go on."),
    "tokens": LazyCommand(module="cli.tokens", help="Count the tokens of a file of requests, offline."),
    "worker": LazyCommand(module="cli.worker", help="Work on whatever is submitted, until stopped."),
    "up": LazyCommand(module="cli.up", help="Serve HTTP and answer what is handed in, all on this machine."),
    "down": LazyCommand(module="cli.down", help="End what `batchmill up` or `serve` started."),
    "serve": LazyCommand(module="cli.serve", help="Serve OpenAI's Files and Batches over HTTP."),
    "beat": LazyCommand(module="cli.beat", help="Ring for what is due; one is enough."),
    "schedules": LazyCommand(module="cli.schedules", help="What runs by itself: when, and how it went."),
    "flower": LazyCommand(module="cli.flower", help="Watch workers and tasks in a browser."),
    "sandbox": LazyCommand(module="cli.sandbox", help="Serve made-up answers: no key, no cost."),
    "usage": LazyCommand(module="cli.usage", help="Show what was used and what it cost."),
    "health": LazyCommand(module="cli.health", help="Show how the parts of the mill are."),
    "alerts": LazyCommand(module="cli.alerts", help="Show what people were told of budgets and health."),
    "report": LazyCommand(module="cli.report", help="Reports of what was used: made, mailed, shown again."),
    "doctor": LazyCommand(module="cli.doctor", help="Check the installation and the books."),
    "budget": LazyCommand(module="cli.budget", help="How much may be spent on what, and how it is used."),
    "cache": LazyCommand(module="cli.cache", help="See what the cache holds, clean it up, empty it."),
    "training": LazyCommand(
        module="cli.training", help="Good answers as training data: mark, export, check."
    ),
    "providers": LazyCommand(module="cli.providers", help="The catalogue: models, their prices and tiers."),
    "keys": LazyCommand(module="cli.keys", help="Make, list and revoke the keys of the HTTP service."),
    "config": LazyCommand(module="cli.config", help="Show the settings in force and where each comes from."),
    "db": LazyCommand(module="cli.db", help="Prepare and look after the database."),
    "version": LazyCommand(module="cli.version", help="Show the versions a bug report needs."),
}


@click.group(
    cls=LazyGroup,
    lazy_commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 done, 1 refused or failed, 2 misused, 130 interrupted.",
)
@click.version_option(package_name="batchmill", message="%(prog)s %(version)s")
def batchmill() -> None:
    """The self-hosted batch API for any model provider.

    Takes requests in OpenAI's batch format, answers every line exactly once, and keeps every cent in the
    ledger.
    """


def main() -> None:
    """Entry point of the installed command."""
    status = run(sys.argv[1:])
    # What goes with the process need not be searched for cycles: that took a fifth of a short command's time.
    gc.freeze()
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; errors are told on standard error."""
    try:
        status = batchmill.main(list(arguments), prog_name="batchmill", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        print_error(" ".join(error.format_message().split()), _usage_hint(error))
        return error.exit_code
    except BatchmillError as error:
        print_error(error.message, error.hint)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        narrate("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _mute_stdout()
        return EXIT_FAILED  # as click does where it meets a broken pipe first
    except Exception as error:
        _tell_unexpected(error)
        return EXIT_FAILED
    return status if isinstance(status, int) else EXIT_DONE


def _usage_hint(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"see `{context.command_path} --help`" if context else ""


def _mute_stdout() -> None:
    # The reader has gone: without this the interpreter complains once more while flushing at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell_unexpected(error: Exception) -> None:
    from batchmill.settings import is_debug  # here, as it would slow down --help

    if is_debug():
        traceback.print_exception(error)
        return
    summary = f"{type(error).__name__}: {error}".splitlines()[0]
    try:
        details = f"the details are in {_log_details(error)}; please report them"
    except (OSError, BatchmillError):
        details = "run it again with BATCHMILL_DEBUG=1 to see the details"
    print_error(f"unexpected {summary}", details)


def _log_details(error: Exception) -> Path:
    from batchmill.settings import load_settings

    folder = load_settings().home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"error-{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        traceback.print_exception(error, file=file)
    return path


if __name__ == "__main__":
    main()
