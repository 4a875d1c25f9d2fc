"""`batchmill up`: everything on this machine, until stopped."""

from pathlib import Path

import click

from batchmill.errors import MisuseError, StoppedError
from cli.home import home_option, settings_at
from cli.output import narrate
from cli.service_options import as_told, host_option, keys_option, port_option
from cli.worker_options import concurrency_option, processes_option


@click.command()
@host_option
@port_option
@keys_option
@processes_option
@concurrency_option
@home_option
def up(
    host: str | None,
    port: int | None,
    require_keys: bool,
    processes: int | None,
    concurrency: int | None,
    home: Path | None,
) -> None:
    """Serve OpenAI's Files and Batches over HTTP, and answer them: service, workers, broker and upkeep in one.

    Point any client of OpenAI's at http://127.0.0.1:8400/v1; on this machine no key is asked for. One Ctrl-C stops
    all of it: the calls in flight finish, nothing is lost, and the next `batchmill up` goes on.
    """
    from batchmill.logs import configure_logs
    from cli.stopping import Stop
    from workers.assembly import require_account
    from workers.mill import EmbeddedMill
    from workers.serving.front import Front, listen
    from workers.serving.notice import Board
    from workers.serving.service import make_service

    settings = as_told(settings_at(home), host, port)
    if not (settings.database.is_embedded and settings.broker.is_embedded):
        raise MisuseError(
            "`batchmill up` is for one machine, and DATABASE_URL or BROKER_URL names a shared server",
            "start `batchmill serve`, `batchmill worker` and `batchmill beat` instead",
        )
    require_account(settings)
    configure_logs(settings.log)
    make_service(settings, wants_keys=require_keys).close()  # what is wrong is told here, not by a child
    board = Board(settings)
    with Stop() as stop, board.claimed(), listen(settings) as listening:
        front = Front(settings=settings, listening=listening, wants_keys=require_keys)

        def announce() -> None:
            board.put(front.url)
            narrate(f"serving {front.url}/v1 on {settings.home}; stop it with Ctrl-C or SIGTERM")

        mill = EmbeddedMill(
            settings,
            processes=processes or settings.workers.processes,
            concurrency=concurrency or settings.workers.concurrency,
            tell=narrate,
            check=stop.check,
            front=front,
            on_up=announce,
        )
        try:
            mill.run()
        except StoppedError as stopped:
            if stopped.at_once:
                raise
            narrate(stopped.message)
