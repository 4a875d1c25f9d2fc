"""How much a worker does at a time, as commands that start one are told."""

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]

processes_option: Callable[[Command], Command] = click.option(
    "--processes", type=click.IntRange(1, 256), help="Worker processes.  [default: BATCHMILL_WORKERS, 1]"
)
concurrency_option: Callable[[Command], Command] = click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    help="Calls in flight in each process.  [default: BATCHMILL_CONCURRENCY, 64]",
)
