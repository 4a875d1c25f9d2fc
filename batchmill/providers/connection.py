"""One connection to a provider: just enough of an HTTP/1.1 client to send a POST and read its answer.

The parsing is httptools', the C parser of Node; here is what becomes of what it reads. An `Exchange` collects
what is known of a call while it goes on, so that whatever goes wrong, what had been said by then is not lost.
"""

import asyncio
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import httptools

from batchmill.failpoints import Failpoint, reached

_GZIP = 16 + zlib.MAX_WBITS


class WireError(Exception):
    """What came over the wire is no whole answer."""


class TooLateError(WireError):
    """By the time there was a connection the call was no longer to be made; nothing has been sent."""


class DisconnectedError(WireError):
    """The server closed the connection instead of answering."""


class NotHttpError(WireError):
    """The answer is not HTTP as anybody speaks it."""


class BrokenAnswerError(WireError):
    """The answer ended before its announced end, or cannot be unpacked."""


class AnswerTooLargeError(WireError):
    """The answer is longer than we are willing to hold."""


@dataclass(slots=True)
class Exchange:
    """What is known so far of one call on the wire.

    Attributes:
        connected: A connection is in hand, so that bytes may have gone out.
        status: None until the answer's headers are whole.
        headers: By name in lower case; of a name that comes twice the first.
        body: Uncompressed; None until it is whole.
        trouble: What ended the exchange early; None when it ended well.
        may_go: Whether it is still to be sent, asked just before it is; None = it is.
        on_piece: Told of each piece of the body as it comes, uncompressed; must not raise.
        is_given_up: Nobody waits for it any more: what has not gone out by then must not.
    """

    connected: bool = False
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    trouble: Exception | None = None
    is_given_up: bool = False
    on_piece: Callable[[bytes], None] | None = None
    may_go: Callable[[], bool] | None = None


_OVER = Exchange(status=0)
"""In place of the exchange that has ended: an idle connection holds nobody's answer."""


class Connection(asyncio.Protocol):
    """A connection; it carries one exchange at a time.

    Args:
        most_bytes: An answer longer than this, uncompressed, is dropped.

    Attributes:
        reusable: Whether another exchange may follow: the last answer was whole, nothing came after it, and the
            server has not closed.
        idle_since: When the last exchange ended, by the monotonic clock; the pool's note.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._loop = asyncio.get_running_loop()
        self._exchange = Exchange()
        self._answered: asyncio.Future[None] | None = None
        self.reusable = True
        self.idle_since = 0.0

    @property
    def is_closing(self) -> bool:
        """Whether it is about to be lost: what is sent now goes nowhere."""
        return self._transport.is_closing()

    async def carry(self, request: bytes, exchange: Exchange) -> None:
        """Send a request and fill in the exchange with its answer. Cut short, the connection is closed.

        Raises:
            WireError: No whole answer came.
            OSError: The connection failed.
        """
        if exchange.may_go is not None and not exchange.may_go():
            raise TooLateError
        self._exchange = exchange
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._room = self._most_bytes
        self._unpacker: zlib._Decompress | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answered = self._loop.create_future()
        self.reusable = False
        exchange.connected = True
        self._transport.write(request)
        reached(Failpoint.AFTER_SEND)
        try:
            await self._answered
        except BaseException:
            self._transport.abort()
            raise
        self._exchange, self._chunks, self._unpacker = _OVER, [], None

    def close(self) -> None:
        """Close it without a word, as of the loop's next turn; an exchange under way ends as disconnected."""
        self.reusable = False
        self._transport.abort()

    # asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse it, if it was asked for."""
        if self._answered is None or self._answered.done():
            self.reusable = False
            self._transport.abort()
            return
        room = self._room
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            broken = NotHttpError if self._exchange.status is None else BrokenAnswerError
            self._fail(broken(f"its answer is not HTTP: {error}"))
            self.reusable = False
        # What the parser or the unpacker keeps to itself counts, too: a header that does not end, for instance.
        if self._room == room:
            self._room -= len(data)
            if self._room < 0:
                self._too_large()

    def eof_received(self) -> None:
        """The server says no more. `connection_lost` comes a turn of the loop later, over TLS several."""
        self.reusable = False

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way. Where no length was said, the end of the connection ends the body."""
        self.reusable = False
        if exc is not None:
            self._fail(exc)
        elif self._exchange.status is None:
            self._fail(DisconnectedError("it closed the connection without an answer"))
        elif self._headers.keys() & {"content-length", "transfer-encoding"}:
            self._fail(BrokenAnswerError("it closed the connection in the middle of its answer"))
        else:
            self._end()

    # httptools' calls; after an answer's end they are of bytes that nobody asked for

    def on_message_begin(self) -> None:
        """Nothing may follow an answer."""
        if self._answered is not None and self._answered.done():
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; it takes its part of the room."""
        self._room -= len(name) + len(value)
        if self._room < 0:
            self._too_large()
        else:
            self._headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """The status counts from here on; that of an interim answer (100 to 199) says nothing yet."""
        status = self._parser.get_status_code()
        if status < 200:
            self._headers = {}
        elif self._exchange.status is None:
            self._exchange.status, self._exchange.headers = status, self._headers
            if "gzip" in self._headers.get("content-encoding", "").lower():
                self._unpacker = zlib.decompressobj(_GZIP)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._unpacker is not None:
            try:
                body = self._unpacker.decompress(body, max(1, self._room + 1))
            except zlib.error as error:
                self._fail(BrokenAnswerError(f"it cannot be unpacked: {error}"))
                return
        self._room -= len(body)
        if self._room < 0:
            self._too_large()
        else:
            self._chunks.append(body)
            if self._exchange.on_piece is not None:
                self._exchange.on_piece(body)

    def on_message_complete(self) -> None:
        """Hand the answer over, unless it was an interim one."""
        if self._exchange.status is not None and self._answered is not None and not self._answered.done():
            self.reusable = self._parser.should_keep_alive() and not self._transport.get_write_buffer_size()
            self._end()

    def _end(self) -> None:
        if self._unpacker is not None and not self._unpacker.eof:
            self._fail(BrokenAnswerError("what is packed ends too early"))
        elif self._answered is not None and not self._answered.done():
            self._exchange.body = b"".join(self._chunks)
            self._answered.set_result(None)

    def _too_large(self) -> None:
        self._fail(AnswerTooLargeError(f"it is larger than {self._most_bytes} bytes"))

    def _fail(self, error: Exception) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)
