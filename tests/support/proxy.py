"""A TCP proxy that does harm: it resets what passes through it, holds it up, loses one direction of it, or all of it.

It runs in a thread of the tester and draws nothing itself: what happens when is the test's to say, by its seed.
"""

import asyncio
import contextlib
import ctypes
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

PIECE_BYTES = 65_536
SLOW_BYTES_A_S = 40_000
SLOW_BY_S = 0.05
"""What a slow connection lets through, and how late each piece of it comes besides."""

_AT_ONCE = struct.pack("ii", 1, 0)
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)
"""A packet filter of one instruction: let nothing through (linux/filter.h)."""


class Fault(StrEnum):
    """What becomes of a connection."""

    NONE = "none"
    """All of it passes."""
    RESET = "reset"
    """Both sides end with RST; a new one as soon as it is made."""
    STALL = "stall"
    """Its bytes are taken and held back, both ways, until it is told otherwise."""
    SLOW = "slow"
    """Few bytes pass in a second, each piece late."""
    HALF_OPEN = "half-open"
    """What the client says arrives; nothing comes back, not even an end. It stays so."""
    GONE = "gone"
    """Nobody is there, and nobody says so: no byte is acknowledged, no new connection made. It stays so."""


_LASTING = frozenset({Fault.HALF_OPEN, Fault.GONE})
_HOLDS = frozenset({Fault.STALL, Fault.GONE})

Where = tuple[str, int] | Path
"""A server: host and port, or a unix socket."""


class _Link:
    """A client's connection, and ours to the server in its name."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._client = reader, writer
        self._writers = [writer]
        self._fault = Fault.NONE
        self._changed = asyncio.Event()

    def meet(self, fault: Fault) -> None:
        """Behave so from now on, unless it is beyond help."""
        if self._fault in _LASTING:
            return
        self._fault = fault
        if fault is Fault.GONE:
            _filter(self._writers[0].get_extra_info("socket"))
        elif fault is Fault.RESET:
            self.abort()
        self._changed.set()
        self._changed = asyncio.Event()

    async def carry(self, where: Where) -> None:
        """Connect to the server and carry both directions to their ends."""
        is_socket = isinstance(where, Path)
        reader, writer = await (
            asyncio.open_unix_connection(where) if is_socket else asyncio.open_connection(*where)
        )
        self._writers.append(writer)
        if self._fault is Fault.RESET:
            return
        mine, client = self._client
        async with asyncio.TaskGroup() as both:
            both.create_task(self._pump(mine, writer))
            both.create_task(self._pump(reader, client, is_back=True))

    def close(self) -> None:
        """End both sides in peace."""
        for writer in self._writers:
            writer.close()

    def abort(self) -> None:
        """End both sides with RST."""
        for writer in self._writers:
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_back: bool = False
    ) -> None:
        while True:
            piece = await reader.read(PIECE_BYTES)
            if self._fault is Fault.SLOW:
                await asyncio.sleep(SLOW_BY_S + len(piece) / SLOW_BYTES_A_S)
            while self._fault in _HOLDS or (is_back and self._fault is Fault.HALF_OPEN):
                await self._changed.wait()
            if not piece:
                writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()


def _filter(sock: Any, *, drop: bool = True) -> None:
    """Let the kernel drop what comes in, unseen by TCP: neither acknowledged nor refused; or no longer so."""
    program = ctypes.create_string_buffer(_DROP_ALL)
    if drop:
        value = struct.pack("HL", 1, ctypes.addressof(program))
        sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, value)
    else:
        sock.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


@dataclass(slots=True)
class Proxy:
    """Stands before a server, on loopback.

    Attributes:
        accepted: So many connections have been made to it.
    """

    where: Where
    port: int = 0
    accepted: int = 0
    _fault: Fault = Fault.NONE
    _links: list[_Link] = field(default_factory=list)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _server: asyncio.Server | None = None

    def switch(self, fault: Fault, among: Callable[[], bool] = lambda: True, *, new: bool = True) -> int:
        """Let open connections meet a fault, and new ones from now on; how many are open that do.

        Args:
            among: Asked about each of the open ones, in their order.
            new: False = new ones are well.
        """
        return int(self._do(self._switch(fault, among, fault if new else Fault.NONE)))

    async def _switch(self, fault: Fault, among: Callable[[], bool], fault_of_new: Fault) -> int:
        hit = [link for link in self._links if among()]
        for link in hit:
            link.meet(fault)
        assert self._server is not None
        if (fault_of_new is Fault.GONE) != (self._fault is Fault.GONE):
            _filter(self._server.sockets[0], drop=fault_of_new is Fault.GONE)
        self._fault = fault_of_new
        return len(hit)

    def _do(self, doing: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(reader, writer)
        self.accepted += 1
        self._links.append(link)
        link.meet(self._fault)
        try:
            await link.carry(self.where)
        except* (OSError, asyncio.CancelledError):
            link.abort()  # one side has gone, so does the other; or all is over
        finally:
            link.close()
            self._links.remove(link)

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def proxy(where: Where) -> Iterator[Proxy]:
    """A proxy before a server for as long as the context lasts."""
    before = Proxy(where)
    thread = threading.Thread(target=before._loop.run_forever, name="proxy")
    thread.start()
    try:
        before._do(before._listen())
        yield before
    finally:
        before._do(before._end())
        before._loop.call_soon_threadsafe(before._loop.stop)
        thread.join(10)
        before._loop.close()
