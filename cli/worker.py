"""`batchmill worker`: a production worker."""

import sys

import click

from batchmill.requests.model import Lane
from batchmill.settings import load_settings
from cli.output import narrate


@click.command()
@click.option(
    "--lanes",
    default="high,normal,low",
    show_default=True,
    help="Which lanes to serve, separated by commas. One slot is kept for high beside others.",
)
@click.option("--maintenance", is_flag=True, help="Do the upkeep (sweeps) instead of answering requests.")
@click.option(
    "--processes", type=click.IntRange(1, 256), help="Worker processes.  [default: BATCHMILL_WORKERS, 1]"
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    help="Calls in flight in each process.  [default: BATCHMILL_CONCURRENCY, 64]",
)
@click.option("--batch", type=int, hidden=True)
@click.option("--queue", hidden=True)
@click.option("--parent", type=int, hidden=True)
def worker(
    lanes: str,
    maintenance: bool,
    processes: int | None,
    concurrency: int | None,
    batch: int | None,
    queue: str | None,
    parent: int | None,
) -> None:
    """Work on whatever is queued, until stopped.

    SIGTERM (or Ctrl-C) lets the calls in flight finish, for BATCHMILL_GRACE_S at most, and hands back the
    rest. Start as many workers on as many machines as you like: they share DATABASE_URL and BROKER_URL.
    """
    import tasks.maintenance
    import tasks.requests  # noqa: F401 - so that Celery knows them, and does not look for them itself
    from workers.app import MAINTENANCE, broker_of, make_app
    from workers.assembly import make_judge, prepared_database, require_key
    from workers.child import Duty
    from workers.production import serve

    settings = load_settings()
    served = _lanes(lanes)
    broker_url = broker_of(settings)
    if not maintenance:
        require_key(settings)
    make_judge(
        settings
    )  # a price file or a time to live that cannot be read stops us here, not at the first claim
    prepared_database(settings).close()
    queues = (queue,) if queue else (MAINTENANCE,) if maintenance else tuple(lane.value for lane in served)
    duty = Duty(
        settings=settings,
        concurrency=concurrency or settings.workers.concurrency,
        lanes=served,
        only_batch=batch,
    )
    if not queue:
        narrate(f"worker serves {', '.join(queues)}; stop it with Ctrl-C or SIGTERM")
    sys.exit(
        serve(
            make_app(broker_url, queues),
            duty,
            processes=processes or settings.workers.processes,
            queues=queues,
            parent=parent,
        )
    )


def _lanes(text: str) -> tuple[Lane, ...]:
    try:
        return tuple(dict.fromkeys(Lane(name.strip()) for name in text.split(",")))
    except ValueError as error:
        raise click.BadParameter(f"{error}; lanes are {', '.join(Lane)}", param_hint="--lanes") from None
