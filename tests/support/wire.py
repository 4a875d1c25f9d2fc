"""A wire that can be cut: a unix-socket proxy in front of PostgreSQL."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

COMMIT = b"COMMIT"


class Wire:
    """Passes bytes on between clients and a server, until it is told to cut a connection at its next commit.

    Attributes:
        skip: How many commits to let through first.
        cut_after: How many times the server gets a COMMIT and its acknowledgement is lost.
        cut_before: How many times a COMMIT is lost on its way to the server.
    """

    def __init__(self, listen: Path, server: str) -> None:
        self.skip = self.cut_after = self.cut_before = 0
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(listen))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._pass_on, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        with client, server, selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    source, sink = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    data = source.recv(1 << 16)
                    if not data or (source is client and COMMIT in data and self._cut(data, server)):
                        return
                    sink.sendall(data)

    def _cut(self, data: bytes, server: socket.socket) -> bool:
        if self.skip:
            self.skip -= 1
            return False
        if self.cut_before:
            self.cut_before -= 1
            return True
        if self.cut_after:
            self.cut_after -= 1
            server.sendall(data)
            server.recv(1 << 16)  # the acknowledgement, which nobody will get
            return True
        return False


@contextlib.contextmanager
def wire_to(url: str, folder: Path) -> Iterator[tuple[Wire, str]]:
    """A wire to a PostgreSQL database for as long as the context lasts, and the URL by which it is reached."""
    parsed = make_url(url)
    server = f"{parsed.query['host']}/.s.PGSQL.5432"
    wire = Wire(folder / ".s.PGSQL.5432", server)
    try:
        through = parsed.update_query_dict({"host": str(folder)})
        yield wire, through.render_as_string(hide_password=False)
    finally:
        wire.close()
