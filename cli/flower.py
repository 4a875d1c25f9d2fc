"""`batchmill flower`: a page on workers and tasks."""

from pathlib import Path
from typing import Any

import click

from batchmill.errors import BrokerError, SettingsError
from batchmill.settings import Settings
from batchmill.settings.flower import FlowerSettings
from cli.home import home_option, settings_at
from cli.output import narrate


@click.command()
@click.option("--host", help="Where to listen.  [default: BATCHMILL_FLOWER_HOST, 127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="The port; 0 takes a free one.  [default: BATCHMILL_FLOWER_PORT, 5555]",
)
@home_option
def flower(host: str | None, port: int | None, home: Path | None) -> None:
    """Watch workers and tasks in a browser, with Flower, until stopped.

    On BROKER_URL; without it on the broker of a home whose `batchmill up` or `batchmill worker` runs. It only
    looks: batches are steered with `batchmill pause|resume|cancel`. Anywhere but on this machine it wants a login:
    BATCHMILL_FLOWER_AUTH, or OAuth.
    """
    from batchmill.logs import configure_logs
    from workers.app import make_app

    settings = settings_at(home)
    told = _as_told(settings.flower, host, port)
    _require_login(told)
    broker_url = _broker(settings)
    serve = _installed()
    configure_logs(settings.log)
    app = make_app(broker_url)
    shown = f"[{told.host}]" if ":" in told.host else told.host

    def announce(port: int) -> None:
        narrate(f"Flower is at http://{shown}:{port}; stop it with Ctrl-C or SIGTERM")

    try:
        serve(told, app, announce)
    except OSError as error:
        raise SettingsError(
            f"Flower cannot listen on {shown}:{told.port}: {error.strerror}",
            "name another with --host or --port, or end what listens there",
        ) from error


def _as_told(settings: FlowerSettings, host: str | None, port: int | None) -> FlowerSettings:
    given: dict[str, Any] = {"host": host, "port": port}
    return settings.model_copy(update={name: value for name, value in given.items() if value is not None})


def _require_login(settings: FlowerSettings) -> None:
    if settings.auth is not None and settings.oauth_provider is not None:
        raise SettingsError(
            "BATCHMILL_FLOWER_AUTH and BATCHMILL_FLOWER_OAUTH are both set", "set one of them: who is asked?"
        )
    if settings.oauth_missing:
        raise SettingsError(
            f"BATCHMILL_FLOWER_OAUTH is set, and {settings.oauth_missing} is not", "set it as well"
        )
    if not settings.is_local and settings.auth is None and settings.oauth_provider is None:
        raise SettingsError(
            f"Flower on {settings.host} would show workers and tasks to anyone",
            "set BATCHMILL_FLOWER_AUTH=user:password (or BATCHMILL_FLOWER_OAUTH), or keep it on 127.0.0.1",
        )


def _broker(settings: Settings) -> str:
    from workers.broker import EmbeddedBroker

    if settings.broker.url is not None:
        return settings.broker.url
    broker = EmbeddedBroker(settings.home)
    if not broker.answers():
        raise BrokerError(
            f"there is nothing to watch on {settings.home}: no `batchmill up` or `batchmill worker` runs there",
            "start one, or set BROKER_URL to the broker that your workers share",
        )
    return broker.url


def _installed() -> Any:
    try:
        from api.flower import serve
    except ModuleNotFoundError as error:
        if error.name not in ("flower", "tornado"):
            raise
        raise SettingsError("Flower is not installed", "pip install 'batchmill[flower]'") from error
    return serve
