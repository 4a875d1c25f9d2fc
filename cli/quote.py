"""`batchmill quote`: what a file of requests will cost, before anything is asked."""

from pathlib import Path
from typing import Any

import click

from cli.home import home_option, settings_at
from cli.inputs import BatchArguments, InputArguments, reads_input, takes_batch, tell_bad_line
from cli.output import json_option
from cli.text import Text


@click.command()
@reads_input
@takes_batch
@click.option(
    "--as",
    "as_models",
    type=Text(),
    multiple=True,
    help="Quote every line as if it asked this MODEL (OpenAI's) or PROVIDER/MODEL; more of them are compared.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    help="Calls in flight at most, over all processes.  [default: BATCHMILL_CONCURRENCY, 64]",
)
@click.option("--rpm", type=click.IntRange(1), help="Calls a minute that the provider allows.")
@click.option("--tpm", type=click.IntRange(1), help="Tokens a minute that the provider allows, in and out.")
@home_option
@json_option
def quote(
    given: InputArguments,
    batch: BatchArguments,
    as_models: tuple[str, ...],
    concurrency: int | None,
    rpm: int | None,
    tpm: int | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Show what a file of requests will cost; nothing is sent, nothing is written.

    INPUT and its options are those of `batchmill run`. For each model: lines, input tokens, what the cache
    answers (HITS) and what the file asks more than once (REPEATS), the cost to be expected, and the most that one
    call for every line can cost, fallbacks included; how long it takes, as far as that is known; and whether it
    fits the budgets.
    """
    settings = settings_at(home)
    quote_input(
        settings,
        given.defaulting(as_models[0] if as_models else ""),
        batch,
        concurrency=concurrency,
        requests_per_min=rpm,
        tokens_per_min=tpm,
        as_models=as_models,
        as_json=as_json,
    )


def quote_input(
    settings: Any,
    given: InputArguments,
    batch: BatchArguments,
    *,
    concurrency: int | None = None,
    requests_per_min: int | None = None,
    tokens_per_min: int | None = None,
    as_models: tuple[str, ...] = (),
    as_json: bool,
) -> bool:
    """Print the quote of an input; whether it can be expected to fit the budgets."""
    from batchmill.clock import SystemClock
    from batchmill.quotes.duration import Pace
    from cli.progress import ProgressLine
    from cli.quote_output import show_quotes
    from cli.stopping import Stop
    from workers.assembly import seen_database
    from workers.progress import Progress
    from workers.quoting import Quoter, counting_processes

    batch.deadline_ms(SystemClock().now_ms())  # costs nothing; one that is none is told as by a run
    source = given.open(settings, makes_home=False)
    database = None
    nothing = "nothing was quoted"
    try:
        database = seen_database(settings)
        with Stop(outcome=nothing, outcome_at_once=nothing) as stop, ProgressLine() as progress:
            quotes = Quoter.of(settings, database).batch(
                source,
                batch.options(settings),
                pace=Pace(
                    concurrency=concurrency or settings.workers.concurrency,
                    requests_per_min=requests_per_min,
                    tokens_per_min=tokens_per_min,
                ),
                as_models=as_models,
                processes=counting_processes(),
                on_bad_line=tell_bad_line,
                on_lines=lambda lines: progress.show(Progress(phase="reading", completed=lines)),
                check=stop.check,
            )
    finally:
        source.release()
        if database is not None:
            database.close()
    show_quotes(quotes, are_compared=bool(as_models), as_json=as_json)
    return all(quoted.fits for quoted in quotes)
