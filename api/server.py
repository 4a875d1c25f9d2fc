"""The web process: the app behind uvicorn, on a socket that was handed to it."""

import os
import socket as net
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
GONE_WITHIN_S = 5.0
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
        patience_s = settings.workers.grace_s + GONE_WITHIN_S
        threading.Thread(target=_follow, args=(parent, patience_s), daemon=True, name="follow-parent").start()
    # The socket itself, not its number: uvicorn takes a number for a Unix socket, whose answers wait for more to send,
    # and holds on to it while it ends.
    with net.socket(fileno=socket) as listening:
        server_of(service).run(sockets=[listening])


def server_of(service: Service) -> uvicorn.Server:
    """The server that answers, once it is run with a socket that listens; it closes that when it is to end."""
    config = uvicorn.Config(
        make_app(service),
        http="httptools",
        loop="asyncio",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        limit_concurrency=MOST_AT_A_TIME,
        timeout_graceful_shutdown=int(service.settings.workers.grace_s),
        proxy_headers=False,
    )
    return _Server(config, service)


class _Server(uvicorn.Server):
    """Ends the streams of events before it waits for its answers to end."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[net.socket] | None = None) -> None:
        """Take no more requests, and wait for those under way."""
        self._service.audience.close()
        await super().shutdown(sockets)


def _follow(parent: int, patience_s: float) -> None:
    """Leave when the parent is gone, as if told to by it, and be gone when it would have seen to that."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    log.warning("launcher_gone")
    os.kill(os.getpid(), SIGTERM)
    time.sleep(patience_s)
    os._exit(1)
