"""The sandbox on a socket, until a signal stops it."""

import asyncio
import signal
from collections.abc import Callable
from typing import Final

from batchmill.errors import ConflictError
from batchmill.sandbox.app import Sandbox
from batchmill.sandbox.http import Connection

GRACE_S: Final = 1.0
"""How long answers under way may still take once the sandbox is told to stop."""

_BACKLOG: Final = 4096


class Server:
    """Serves a sandbox on one address, in the running event loop."""

    def __init__(self, sandbox: Sandbox, host: str = "127.0.0.1", port: int = 0) -> None:
        self._sandbox = sandbox
        self._host = host
        self._port = port
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; port 0 takes a free one. Returns the base URL, `/v1` included.

        Raises:
            ConflictError: The address cannot be had.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self._sandbox.handle, self._connections),
                self._host,
                self._port,
                backlog=_BACKLOG,
            )
        except (OSError, OverflowError) as error:
            raise ConflictError(
                f"the sandbox cannot listen on {self._host}:{self._port}: {error}",
                "take another --port, or 0, and a --host that is an address of this machine",
            ) from error
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{port}/v1"

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Stop listening, let answers under way go out for at most so many seconds, cut the rest."""
        if self._server is None:
            return
        self._server.close()
        deadline = asyncio.get_running_loop().time() + grace_s
        while self._answering() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - at exit only
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.close()
        await self._server.wait_closed()
        self._server = None
        await asyncio.sleep(0)  # lets the closed connections' callbacks run before the loop ends

    def _answering(self) -> bool:
        return any(connection.answering for connection in self._connections)


async def serve(server: Server, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is given the base URL once calls are taken.

    Raises:
        ConflictError: The address cannot be had.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    base_url = await server.start()
    try:
        announce(base_url)
        await stopped.wait()
    finally:
        await server.stop()
