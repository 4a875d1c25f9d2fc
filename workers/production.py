"""The production launcher: one Celery worker with few processes, started by our own command.

Never `celery -A`, which would put the user's folder, and a `tasks.py` in it, first on the import path.
"""

import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog
from celery import Celery, signals
from celery.platforms import SecurityWarning

from batchmill.logs import configure_logs
from batchmill.money import list_prices
from workers.alerts import warn_of_half_set_up
from workers.app import MAINTENANCE
from workers.child import Child, Duty, set_duty

if TYPE_CHECKING:
    from workers.meters.launch import Meters

log = structlog.get_logger()

WATCH_S = 0.2


def serve(
    app: Celery,
    duty: Duty,
    *,
    processes: int,
    queues: Sequence[str],
    parent: int | None = None,
    metrics_port: int = 0,
) -> int:
    """Work until stopped; the exit status. SIGTERM or SIGINT to this process stops claiming and drains.

    Args:
        parent: Drain and leave as soon as this process, which started this one, is gone; it may be by now.
        metrics_port: Where the metrics of its processes are told; 0 = by the service of its home.

    Raises:
        BatchmillError: Metrics cannot be told where they are to be.
    """
    if (
        duty.only_batch is not None
    ):  # its command lasts for one batch, and nobody is there to ask for its metrics
        return _serve(app, duty, None, processes=processes, queues=queues, parent=parent)
    from workers.meters.launch import metered

    with metered(duty.settings, metrics_port) as meters:
        return _serve(app, duty, meters, processes=processes, queues=queues, parent=parent)


def _serve(
    app: Celery,
    duty: Duty,
    meters: "Meters | None",
    *,
    processes: int,
    queues: Sequence[str],
    parent: int | None,
) -> int:
    configure_logs(duty.settings.log)
    if MAINTENANCE in queues:
        warn_of_half_set_up(duty.settings)
    # Celery warns of pickled messages run as root; ours are JSON only.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    child = set_duty(duty, meters)
    list_prices.load()  # once, for all the processes forked from here
    _connect_signals(child, "maintenance" if MAINTENANCE in queues else "worker")
    if parent is not None:
        threading.Thread(target=_follow_parent, args=(parent,), daemon=True, name="follow-parent").start()
    kind = MAINTENANCE if MAINTENANCE in queues else "worker"
    worker = app.Worker(
        hostname=f"{kind}-{os.getpid()}@{socket.gethostname()}",  # one name each, for those who watch
        pool="prefork",
        concurrency=processes,
        queues=list(queues),
        loglevel="WARNING",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def keep_time(app: Celery, entries: dict[str, dict[str, Any]]) -> None:
    """Run beat until stopped. It only rings; who answers sees what there is to do."""
    app.conf.beat_schedule = entries
    app.Beat(scheduler="celery.beat:Scheduler", loglevel="WARNING", quiet=True).run()


def _connect_signals(child: Child, role: str) -> None:
    def wind_up(**_: Any) -> None:
        child.duty.stopping.set()

    def begin(**_: Any) -> None:
        child.begin(role)

    def end(**_: Any) -> None:
        child.end()

    signals.worker_shutting_down.connect(wind_up, weak=False)
    signals.worker_process_init.connect(begin, weak=False)
    signals.worker_process_shutdown.connect(end, weak=False)


def _follow_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    log.warning("launcher_gone")
    os.kill(os.getpid(), signal.SIGTERM)
