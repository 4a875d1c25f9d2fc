"""`batchmill worker`: answers what others submit."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchmill.errors import MisuseError, StoppedError
from batchmill.requests.model import Lane
from batchmill.settings import Settings
from cli.home import home_option, settings_at
from cli.output import narrate
from cli.worker_options import concurrency_option, processes_option

if TYPE_CHECKING:
    from workers.child import Duty

MAINTENANCE_PROCESSES = 2
"""So that no sweep waits for a long job, of which one is run at a time."""


@click.command()
@click.option(
    "--lanes",
    default="high,normal,low",
    show_default=True,
    help="Which lanes to serve, separated by commas. One slot is kept for high beside others.",
)
@click.option(
    "--maintenance",
    is_flag=True,
    help="Do what runs by itself (`batchmill schedules list`) instead of answering requests.",
)
@click.option(
    "--until-idle", is_flag=True, help="End when no submitted batch can go on. On an embedded home only."
)
@processes_option
@concurrency_option
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    help="Tell Prometheus how its processes do, at GET /metrics; 0 = the service of its home does."
    "  [default: BATCHMILL_METRICS_PORT, 0]",
)
@home_option
@click.option("--batch", type=int, hidden=True)
@click.option("--queue", hidden=True)
@click.option("--submitted-only", is_flag=True, hidden=True)
@click.option("--parent", type=int, hidden=True)
def worker(
    lanes: str,
    maintenance: bool,
    until_idle: bool,
    processes: int | None,
    concurrency: int | None,
    metrics_port: int | None,
    home: Path | None,
    batch: int | None,
    queue: str | None,
    submitted_only: bool,
    parent: int | None,
) -> None:
    """Work on whatever is submitted, until stopped.

    Ctrl-C or SIGTERM lets the calls in flight finish, for BATCHMILL_GRACE_S at most, and hands back the rest.

    On an embedded home one command is all it takes: it brings the broker and does the upkeep too. Grown up,
    start as many workers on as many machines as you like: they share DATABASE_URL and BROKER_URL.
    """
    from workers.alerts import make_channels
    from workers.assembly import make_judge, require_account
    from workers.child import Duty

    if until_idle and maintenance:
        raise MisuseError("--until-idle and --maintenance exclude each other", "leave out one of them")
    settings = _as_told(settings_at(home), metrics_port)
    if not maintenance:
        require_account(settings)
    # A price file, a time to live or a webhook that cannot be used stops us here, not at the first claim or alert.
    make_judge(settings)
    make_channels(settings)
    duty = Duty(
        settings=settings,
        concurrency=concurrency or settings.workers.concurrency,
        lanes=_lanes(lanes),
        only_batch=batch,
        runs_too=not submitted_only,
    )
    processes = processes or settings.workers.processes
    if maintenance:
        processes = max(processes, MAINTENANCE_PROCESSES)
    is_embedded = settings.database.is_embedded and settings.broker.is_embedded
    if is_embedded and not maintenance:
        _serve_home(settings, duty, processes, until_idle)
    elif until_idle:
        raise MisuseError(
            "--until-idle is for an embedded home, whose only worker this is",
            "leave BROKER_URL and DATABASE_URL unset, or leave --until-idle out",
        )
    else:
        sys.exit(_serve(duty, processes, maintenance, queue, parent))


def _serve_home(settings: Settings, duty: "Duty", processes: int, until_idle: bool) -> None:
    from batchmill.logs import configure_logs
    from cli.stopping import Stop
    from workers.mill import EmbeddedMill

    configure_logs(settings.log)
    with Stop() as stop:
        mill = EmbeddedMill(
            settings,
            lanes=duty.lanes,
            processes=processes,
            concurrency=duty.concurrency,
            tell=narrate,
            check=stop.check,
        )
        _announce(tuple(duty.lanes), f" on {settings.home}")
        try:
            mill.run(until_idle=until_idle)
        except StoppedError as stopped:
            if stopped.at_once:
                raise
            narrate(stopped.message)


def _serve(duty: "Duty", processes: int, maintenance: bool, queue: str | None, parent: int | None) -> int:
    import tasks.maintenance
    import tasks.requests  # noqa: F401 - so that Celery knows them, and does not look for them itself
    from workers.app import MAINTENANCE, broker_of, make_app
    from workers.assembly import prepared_database
    from workers.production import serve

    broker_url = broker_of(duty.settings)
    prepared_database(duty.settings).close()
    queues = (queue,) if queue else (MAINTENANCE,) if maintenance else tuple(duty.lanes)
    if parent is None:
        _announce(queues)
    app = make_app(broker_url, queues)
    return serve(
        app,
        duty,
        processes=processes,
        queues=queues,
        parent=parent,
        metrics_port=duty.settings.metrics.port,
    )


def _as_told(settings: Settings, metrics_port: int | None) -> Settings:
    if metrics_port is None:
        return settings
    metrics = settings.metrics.model_copy(update={"port": metrics_port})
    return settings.model_copy(update={"metrics": metrics})


def _announce(queues: tuple[str, ...], where: str = "") -> None:
    narrate(f"worker serves {', '.join(queues)}{where}; stop it with Ctrl-C or SIGTERM")


def _lanes(text: str) -> tuple[Lane, ...]:
    try:
        return tuple(dict.fromkeys(Lane(name.strip()) for name in text.split(",")))
    except ValueError as error:
        raise click.BadParameter(f"{error}; lanes are {', '.join(Lane)}", param_hint="--lanes") from None
