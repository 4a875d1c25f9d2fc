"""An HTTP server on loopback that answers by a script, to see what a client really sends."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson


@dataclass(slots=True, kw_only=True)
class Seen:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body, read as JSON."""
        return orjson.loads(self.body)


@dataclass(slots=True, kw_only=True)
class Told:
    """What is answered.

    Attributes:
        cut: Send no more than so many bytes of the body, then close the connection; None = all of it.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


DROPPED = None
"""In place of an answer: the connection is closed without a word."""

Answering = Callable[[Seen], Told | None]


@dataclass(slots=True, kw_only=True)
class Listener:
    """What has come in, and what is answered.

    Attributes:
        url: Where it listens.
        answer: Makes an answer of each request.
        on_piece: Told of each piece of a body as it comes.
        keep_bodies: False where they are too large to be kept.
    """

    url: str
    answer: Answering
    seen: list[Seen] = field(default_factory=list)
    on_piece: Callable[[bytes], None] = lambda _: None
    keep_bodies: bool = True

    def of(self, method: str, path: str) -> list[Seen]:
        """The requests of that kind."""
        return [one for one in self.seen if (one.method, one.path.partition("?")[0]) == (method, path)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    listener: Listener

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        listener = server.listener
        body = self._body(listener)
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(method=self.command, path=self.path, headers=headers, body=body)
        listener.seen.append(seen)
        told = listener.answer(seen)
        if told is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(told.status)
        for name, value in ({"content-length": str(len(told.body))} | told.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(told.body if told.cut is None else told.body[: told.cut])
        if told.cut is not None:
            self.close_connection = True

    do_POST = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _body(self, listener: Listener) -> bytes:
        body = bytearray()
        for piece in self._pieces():
            listener.on_piece(piece)
            if listener.keep_bodies:
                body += piece
        return bytes(body)

    def _pieces(self) -> Iterator[bytes]:
        if self.headers.get("transfer-encoding") != "chunked":
            yield self.rfile.read(int(self.headers.get("content-length", 0)))
            return
        while True:
            head = self.rfile.readline()
            if not head.strip():
                raise ConnectionError("the client has left")
            piece = self.rfile.read(int(head, 16))
            self.rfile.readline()
            if not piece:
                return
            yield piece


@contextlib.contextmanager
def listening(answer: Answering) -> Iterator[Listener]:
    """Serve in a thread for as long as the context lasts."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.listener = Listener(url=f"http://127.0.0.1:{server.server_port}", answer=answer)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.listener
        finally:
            server.shutdown()
            thread.join(30)
