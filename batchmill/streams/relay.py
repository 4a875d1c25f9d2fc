"""A relay: passes the events of one answer on to whoever asked for them, as long as somebody listens."""

import asyncio
from collections.abc import AsyncIterator


class Relay:
    """What a provider streams, on its way to one client. Used from one event loop.

    It holds what the client has not taken yet, at most one answer: a slow client does not slow the call down.

    Attributes:
        has_begun: Something has gone out. From then on no other answer can take this one's place.
        options: The client's own `stream_options`.
    """

    def __init__(self, options: dict[str, object] | None = None) -> None:
        self.options = options or {}
        self.has_begun = False
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._begun = asyncio.Event()
        self._is_left = False

    @property
    def wants_usage(self) -> bool:
        """Whether the client has asked to be told the usage."""
        return self.options.get("include_usage") is True

    def hear(self, event: bytes) -> None:
        """Pass an event on."""
        self.has_begun = True
        self._begun.set()
        if not self._is_left:
            self._events.put_nowait(event)

    def end(self) -> None:
        """Nothing follows."""
        self._begun.set()
        self._events.put_nowait(None)

    def leave(self) -> None:
        """Nobody listens any more."""
        self._is_left = True

    async def begun(self) -> bool:
        """Wait until something comes, or nothing will; whether something has come."""
        await self._begun.wait()
        return self.has_begun

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the events as they come, to the end."""
        while (event := await self._events.get()) is not None:
            yield event
