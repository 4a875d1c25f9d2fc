"""The web process: the app behind uvicorn, on a socket that was handed to it."""

import os
import socket as net
import threading
import time
from signal import SIGTERM

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import make_app
from batchmill.logs import configure_logs
from batchmill.money import list_prices
from workers.serving.desk import Desk
from workers.serving.service import Service

log = structlog.get_logger()

WATCH_S = 0.5
GONE_WITHIN_S = 5.0


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
    list_prices.load()  # the first caller is not to wait for it
    server_of(service, socket).run()


def server_of(service: Service, socket: int) -> uvicorn.Server:
    """The server that answers on that socket."""
    app = make_app(service)
    config = uvicorn.Config(
        app,
        http="httptools",
        loop="asyncio",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=int(service.settings.workers.grace_s),
        proxy_headers=False,
    )
    # Not by uvicorn's `fd`: it takes the socket for one of another family, whose small packets asyncio lets wait for
    # each other; every answer to a client that sends head and body apart would be 40 ms late.
    return _Server(config, app, service, net.socket(fileno=socket))


class _Server(uvicorn.Server):
    """Before it waits for its answers to end, ends the streams of events, and lets the desk take nothing more on."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, service: Service, listening: net.socket) -> None:
        super().__init__(config)
        self._listening = listening
        self._app = app
        self._service = service

    def run(self, sockets: list[net.socket] | None = None) -> None:
        """Answer until stopped."""
        super().run(sockets or [self._listening])

    async def shutdown(self, sockets: list[net.socket] | None = None) -> None:
        """Take no more requests, and wait for those under way."""
        self._service.audience.close()
        desk: Desk | None = getattr(self._app.state, "desk", None)
        if desk is not None:
            desk.wind_up()
        await super().shutdown(sockets)


def _follow(parent: int, patience_s: float) -> None:
    """Leave when the parent is gone, as if told to by it, and be gone when it would have seen to that."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    log.warning("launcher_gone")
    os.kill(os.getpid(), SIGTERM)
    time.sleep(patience_s)
    os._exit(1)
