"""The web process: the app behind uvicorn, on a socket that was handed to it."""

import asyncio
import os
import threading
import time
from signal import SIGTERM
from socket import socket
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import make_app
from batchmill.logs import configure_logs
from workers.serving.desk import Desk
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
    app = make_app(service)
    config = uvicorn.Config(
        app,
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
    _Server(config, app).run()


class _Server(uvicorn.Server):
    """Tells the desk at once that it is to stop; uvicorn itself does so only when every client has gone."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket] | None = None) -> None:
        """Answer until stopped."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come."""
        super().handle_exit(sig, frame)
        desk: Desk | None = getattr(self._app.state, "desk", None)
        if desk is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(desk.wind_up)


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    log.warning("launcher_gone")
    os.kill(os.getpid(), SIGTERM)
