"""The options that say how a batch is to be answered, the same for `run` and `submit`."""

from collections.abc import Callable
from typing import Any

import click

from batchmill.requests.model import BatchOptions, CacheMode, Lane, LineError, OnUnknown
from batchmill.settings import Settings
from cli.output import narrate

_OPTIONS = (
    click.option(
        "--priority",
        type=click.Choice([lane.value for lane in Lane]),
        default="normal",
        show_default=True,
        help="Which lane.",
    ),
    click.option(
        "--cache",
        type=click.Choice([mode.value for mode in CacheMode]),
        default="auto",
        show_default=True,
        help="When an answer given before is used again: auto = unless the request asks for variety.",
    ),
    click.option(
        "--on-unknown",
        type=click.Choice([way.value for way in OnUnknown]),
        default="retry",
        show_default=True,
        help="What to do about a call that may have been billed without an answer: ask again, or fail the line.",
    ),
)


def batch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `priority`, `cache` and `on_unknown`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def options_of(settings: Settings, *, priority: str, cache: str, on_unknown: str) -> BatchOptions:
    """What was asked for, for the provider in force."""
    return BatchOptions(
        upstream=settings.openai.upstream,
        lane=Lane(priority),
        cache=CacheMode(cache),
        on_unknown=OnUnknown(on_unknown),
    )


def tell_bad_line(bad: LineError) -> None:
    """Say which line is not valid, and why."""
    where = "input" if bad.line is None else f"line {bad.line}"
    param = f" ({bad.param})" if bad.param else ""
    narrate(f"{where}: {bad.code}{param}: {bad.message}")
