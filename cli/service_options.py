"""What the commands that start the service are asked."""

from collections.abc import Callable
from typing import Any

import click

from batchmill.settings import Settings

Command = Callable[..., Any]

host_option: Callable[[Command], Command] = click.option(
    "--host", help="Where to listen.  [default: BATCHMILL_HOST, 127.0.0.1]"
)
port_option: Callable[[Command], Command] = click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="The port; 0 takes a free one.  [default: BATCHMILL_PORT, 8400]",
)
keys_option: Callable[[Command], Command] = click.option(
    "--require-keys", is_flag=True, help="Ask for keys on this machine too."
)


def as_told(settings: Settings, host: str | None, port: int | None) -> Settings:
    """The settings with what was told on the command line."""
    told: dict[str, Any] = {"host": host, "port": port}
    given = {name: value for name, value in told.items() if value is not None}
    return settings.model_copy(update={"service": settings.service.model_copy(update=given)})
