"""`batchmill serve`: the HTTP service."""

from pathlib import Path

import click

from batchmill.errors import StoppedError
from batchmill.settings import Settings
from cli.home import home_option, settings_at
from cli.output import narrate
from cli.service_options import as_told, host_option, keys_option, port_option


@click.command()
@host_option
@port_option
@keys_option
@home_option
@click.option("--front", type=int, hidden=True)
@click.option("--parent", type=int, hidden=True)
def serve(
    host: str | None,
    port: int | None,
    require_keys: bool,
    home: Path | None,
    front: int | None,
    parent: int | None,
) -> None:
    """Serve OpenAI's Files and Batches over HTTP, until stopped.

    It takes batches in and hands their results out; `batchmill worker` answers them, here or on other machines.
    For all of it on this machine there is `batchmill up`. Start as many of these as you like behind a load
    balancer: they share DATABASE_URL and BATCHMILL_FILES_URL. Ctrl-C or SIGTERM lets what is being answered finish.
    """
    settings = as_told(settings_at(home), host, port)
    if front is not None:
        _answer(settings, front, parent, require_keys)
    else:
        _serve(settings, require_keys)


def _answer(settings: Settings, socket: int, parent: int | None, wants_keys: bool) -> None:
    from api.server import serve as answer
    from workers.serving.service import make_service

    service = make_service(settings, wants_keys=wants_keys)
    try:
        answer(service, socket=socket, parent=parent)
    finally:
        service.close()


def _serve(settings: Settings, wants_keys: bool) -> None:
    from batchmill.logs import configure_logs
    from cli.stopping import Stop
    from workers.serving.house import House

    configure_logs(settings.log)
    with Stop() as stop:
        house = House(settings, wants_keys=wants_keys, tell=narrate, check=stop.check)
        try:
            house.run()
        except StoppedError as stopped:
            if stopped.at_once:
                raise
            narrate(stopped.message)
