"""Connections to one provider, kept and used again."""

import asyncio
import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aiohappyeyeballs import start_connection
from yarl import URL

from batchmill.providers.connection import Connection, Exchange

# Servers drop idle connections, uvicorn (vLLM and many others) after 5 s. One dropped just as we write
# makes an unknown attempt, so we drop it first.
_KEEPALIVE_S: Final = 4.0
_NEXT_ADDRESS_AFTER_S: Final = 0.25
"""How long one address of a host is waited for before the next is tried beside it (RFC 8305)."""

AddressInfo = tuple[Any, Any, int, str, Any]
"""One address of a host, as the system's look-up tells it."""

LookUp = Callable[[str, int], Awaitable[Sequence[AddressInfo]]]


async def look_up(host: str, port: int) -> Sequence[AddressInfo]:
    """The addresses of a host."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Pool:
    """At most so many connections to one server, each for one exchange at a time. Used from one event loop.

    Honest weakness: every new connection looks its host up anew; only the system may remember.

    Args:
        origin: Scheme, host and port.
        most: The most connections; who asks for another one waits.
        connect_timeout_s: Bounds the making of a connection, TLS included.
        most_bytes: See `Connection`.
        look_up: Finds the addresses of its host, and may refuse them; no others are called.
    """

    def __init__(
        self,
        origin: URL,
        *,
        most: int,
        connect_timeout_s: float,
        most_bytes: int,
        look_up: LookUp = look_up,
    ) -> None:
        assert origin.raw_host is not None
        assert origin.port is not None
        self._address = origin.raw_host, origin.port
        self._server = origin.host_port_subcomponent
        self._connect_timeout_s = connect_timeout_s
        self._most_bytes = most_bytes
        self._look_up = look_up
        self._slots = asyncio.Semaphore(most)
        self._idle: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._tls = _tls() if origin.scheme == "https" else None

    async def carry(self, request: bytes, exchange: Exchange) -> None:
        """Send a request once, over a connection of its own, and fill in the exchange with its answer.

        Raises:
            OSError: No connection could be made, or it failed.
            TimeoutError: No connection could be made in time.
            WireError: No whole answer came.
        """
        async with self._slots:
            connection = self._kept() or await self._connect()
            self._busy.add(connection)
            try:
                await connection.carry(request, exchange)
            finally:
                self._busy.discard(connection)
                self._keep(connection)

    def close(self) -> None:
        """Close every connection; exchanges under way end as disconnected, one still connecting goes on."""
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()

    def _kept(self) -> Connection | None:
        """The connection used last, which is the least likely to be dropped; the others grow old and go."""
        oldest = time.monotonic() - _KEEPALIVE_S
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.popleft().close()
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and not connection.is_closing:
                return connection
        return None

    def _keep(self, connection: Connection) -> None:
        if connection.reusable:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                addresses = await self._look_up(*self._address)
                # Not asyncio's own race: cancelled in the turn in which one connects, that leaves a socket open.
                connected = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_AFTER_S)
                _, connection = await loop.create_connection(
                    lambda: Connection(self._most_bytes),
                    sock=connected,
                    ssl=self._tls,
                    server_hostname=self._address[0] if self._tls is not None else None,
                )
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectionError(f"{self._server}: {_reason(error)}") from error
        return connection


def _reason(error: OSError) -> str:
    """Why there is no connection; asyncio puts its own words for the address into what the system says."""
    if isinstance(error, ConnectionError) and error.errno is not None:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
