"""Just enough of an HTTP/1.1 server for the sandbox: keep-alive, pipelining, chunked and expected bodies.

The parsing is httptools', the C parser of Node; here is what becomes of a parsed request. One request of a
connection is in hand at a time, so answers keep the order of requests.
"""

import asyncio
import itertools
import secrets
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, cast

import httptools

from batchmill.sandbox.outcomes import NOT_A_MODEL, Answer, Complaint, NoAnswer, Outcome, Reaction
from batchmill.sandbox.request import Request
from batchmill.sandbox.wires.openai.wire import OPENAI

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
SHORTEST_PAUSE_S: Final = 0.02
"""Between two pieces of a dripping answer."""

KEPT_HEADERS: Final[Mapping[bytes, str]] = {
    name.encode(): name
    for name in ("x-client-request-id", "authorization", "x-api-key", "anthropic-version", "x-goog-api-key")
}
"""Those that matter here."""

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
_RUN: Final = secrets.token_hex(5)
_NUMBERS = itertools.count(1)

Handler = Callable[[Request], Reaction]


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        handler: Says what becomes of a request; called at once, before any delay.
        open_connections: Holds this connection while it is open.
    """

    def __init__(self, handler: Handler, open_connections: set["Connection"]) -> None:
        self._handler = handler
        self._open_connections = open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self.on_message_begin()

    @property
    def answering(self) -> bool:
        """Whether an answer is on its way; a request left hanging has none."""
        return self._timer is not None

    # asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was under way; it was logged and billed when it came."""
        self._open_connections.discard(self)
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse; a client that speaks no HTTP is told so and cut off."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._give_up(Complaint(message="This is not HTTP/1.1 as the sandbox reads it."))

    # httptools' calls

    def on_message_begin(self) -> None:
        """Start a new request."""
        self._url = b""
        self._headers: dict[str, str] = {}
        self._expects = False
        self._body: list[bytes] = []
        self._room = MAX_BODY_BYTES

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; few of them matter here."""
        lower = name.lower()
        if kept := KEPT_HEADERS.get(lower):
            self._headers[kept] = value.decode("latin-1")
        elif lower == b"expect":
            self._expects = True

    def on_headers_complete(self) -> None:
        """Ask for the body of a client that waits to be asked (curl does, for large ones)."""
        if self._expects:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._room -= len(body)
        if self._room >= 0:
            self._body.append(body)
        elif not self._transport.is_closing():
            message = f"The body is larger than {MAX_BODY_BYTES} bytes."
            self._give_up(Complaint(status=413, message=message))

    def on_message_complete(self) -> None:
        """Take the request up, or let it wait for the one before."""
        if self._transport.is_closing():
            return
        path, _, query = self._url.decode("latin-1").partition("?")
        self._waiting.append(
            Request(
                method=self._parser.get_method().decode("latin-1"),
                path=path,
                query=query,
                body=b"".join(self._body),
                request_id=f"req_{_RUN}{next(_NUMBERS):08x}",
                client_request_id=self._headers.get("x-client-request-id", ""),
                headers=self._headers,
                keep_alive=self._parser.should_keep_alive(),
            )
        )
        if self._busy:
            self._transport.pause_reading()
        else:
            self._take_next()

    # what becomes of a request

    def close(self) -> None:
        """Close at once, whatever is under way."""
        self._transport.abort()

    def _take_next(self) -> None:
        self._busy = True
        request = self._waiting.popleft()
        reaction = self._handler(request)
        if reaction.delay_s > 0.0:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(reaction.delay_s, self._finish, request, reaction.outcome)
        else:
            self._finish(request, reaction.outcome)

    def _finish(self, request: Request, outcome: Outcome) -> None:
        self._timer = None
        if outcome is NoAnswer.HANG:
            return
        if outcome is NoAnswer.RESET:
            self._reset()
            return
        keep_alive = request.keep_alive and outcome.break_after is None
        head = encode_head(outcome, request.request_id, keep_alive=keep_alive)
        body = outcome.body[: outcome.break_after]
        if outcome.drip_s > 0.0 and body:
            self._transport.write(head)
            self._timer = self._begin_drip(body, outcome.drip_s, keep_alive)
        else:
            self._transport.write(head + body)
            self._end(keep_alive)

    def _begin_drip(self, body: bytes, over_s: float, keep_alive: bool) -> asyncio.TimerHandle:
        """Byte by byte where there is time for it; larger pieces where their pauses would be too short."""
        pause_s = max(SHORTEST_PAUSE_S, over_s / len(body))
        piece = -(-len(body) // max(1, round(over_s / pause_s)))
        return asyncio.get_running_loop().call_later(pause_s, self._drip, body, piece, pause_s, keep_alive)

    def _drip(self, rest: bytes, piece: int, pause_s: float, keep_alive: bool) -> None:
        self._timer = None
        self._transport.write(rest[:piece])
        if rest := rest[piece:]:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(pause_s, self._drip, rest, piece, pause_s, keep_alive)
        else:
            self._end(keep_alive)

    def _end(self, keep_alive: bool) -> None:
        """The answer is out: take the next request, or close."""
        self._busy = False
        if not keep_alive:
            self._transport.close()
        elif self._waiting:
            self._take_next()
        else:
            self._transport.resume_reading()

    def _reset(self) -> None:
        # Lingering zero seconds makes the kernel send RST, as a crashed server's does, instead of FIN.
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _give_up(self, complaint: Complaint) -> None:
        request_id = f"req_{_RUN}{next(_NUMBERS):08x}"
        answer = OPENAI.refuse(complaint, request_id)  # nothing was read that tells another wire
        head = encode_head(answer, request_id, keep_alive=False)
        self._transport.write(head + answer.body)
        self._transport.close()


def encode_head(answer: Answer, request_id: str, *, keep_alive: bool) -> bytes:
    """What goes before the answer's body on the wire, labelled as the sandbox's."""
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Unknown')}\r\n"
        f"content-type: {answer.content_type}\r\n"
        f"content-length: {len(answer.body)}\r\n"
        f"{answer.id_header}: {request_id}\r\n"
        f"x-batchmill-sandbox: {NOT_A_MODEL}\r\n"
    )
    for name, value in answer.headers:
        head += f"{name}: {value}\r\n"
    return (head + ("\r\n" if keep_alive else "connection: close\r\n\r\n")).encode("latin-1")
