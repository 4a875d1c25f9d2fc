"""The web process: the app behind uvicorn, on a socket that was handed to it."""

import os
import threading
import time
from signal import SIGTERM

import structlog
import uvicorn

from api.app import make_app
from batchmill.logs import configure_logs
from workers.serving.service import Service

log = structlog.get_logger()

WATCH_S = 0.5
MOST_AT_A_TIME = 2_000
"""So many requests are answered at a time; beyond that 503 says to come back."""


def serve(service: Service, *, socket: int, parent: int | None = None) -> None:
    """Answer until stopped; what is being answered by then may finish.

    Args:
        socket: The number of the socket that listens.
        parent: Leave as soon as this process, which started this one, is gone.
    """
    settings = service.settings
    configure_logs(settings.log)
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True, name="follow-parent").start()
    config = uvicorn.Config(
        make_app(service),
        fd=socket,
        http="httptools",
        loop="asyncio",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        limit_concurrency=MOST_AT_A_TIME,
        timeout_graceful_shutdown=int(settings.workers.grace_s),
        proxy_headers=False,
    )
    uvicorn.Server(config).run()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    log.warning("launcher_gone")
    os.kill(os.getpid(), SIGTERM)
