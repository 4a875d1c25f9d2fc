"""The proxy that does harm, before an echo: each fault is what it says, on open connections and on new ones."""

import itertools
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.mill import wait_until
from tests.support.proxy import SLOW_BY_S, Fault, Proxy, proxy

SOON_S = 0.2
LATE_S = 10.0


class _Echo(socketserver.ThreadingTCPServer):
    daemon_threads = True
    heard = b""


class _Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Echo)
        with suppress(OSError):
            while said := self.request.recv(65_536):
                self.server.heard += said
                self.request.sendall(said)


@pytest.fixture
def echo() -> Iterator[_Echo]:
    """A server that says what it hears."""
    with _Echo(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def before(echo: _Echo) -> Iterator[Proxy]:
    """A proxy before it."""
    with proxy(("127.0.0.1", echo.server_address[1])) as one:
        yield one


@pytest.fixture
def client(before: Proxy) -> Iterator[socket.socket]:
    """A connection through it that has been used."""
    with connect(before) as one:
        assert ask(one) == b"hello"
        yield one


def connect(before: Proxy, within_s: float = LATE_S) -> socket.socket:
    """A connection through it."""
    return socket.create_connection(("127.0.0.1", before.port), timeout=within_s)


def ask(client: socket.socket, said: bytes = b"hello", within_s: float = LATE_S) -> bytes:
    """Say something, and hear what is answered."""
    client.settimeout(within_s)
    client.sendall(said)
    return client.recv(len(said))


def test_nothing_is_lost(before: Proxy) -> None:
    """Without a fault all of it comes through, in order, and the end as well."""
    said = bytes(itertools.islice(itertools.cycle(range(251)), 1_000_000))
    with connect(before) as client, client.makefile("rb") as answer:
        sending = threading.Thread(target=lambda: (client.sendall(said), client.shutdown(socket.SHUT_WR)))
        sending.start()
        assert answer.read() == said
        sending.join()


def test_reset(before: Proxy, client: socket.socket) -> None:
    """Both an open connection and a new one end with RST; later ones are well."""
    assert before.switch(Fault.RESET) == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionResetError), connect(before) as new:
        new.recv(1)
    before.switch(Fault.NONE)
    with connect(before) as later:
        assert ask(later) == b"hello"


def test_stall(before: Proxy, client: socket.socket) -> None:
    """Nothing passes, of a new connection neither, until the proxy is told otherwise; then all of it does."""
    before.switch(Fault.STALL)
    with connect(before) as new:
        for one in (client, new):
            with pytest.raises(TimeoutError):
                ask(one, within_s=SOON_S)
        before.switch(Fault.NONE)
        for one in (client, new):
            one.settimeout(LATE_S)
            assert one.recv(5) == b"hello"


def test_slow(before: Proxy, client: socket.socket) -> None:
    """It all comes, late: there and back."""
    before.switch(Fault.SLOW)
    begun = time.monotonic()
    assert ask(client) == b"hello"
    assert time.monotonic() - begun >= 2 * SLOW_BY_S


def test_half_open(before: Proxy, client: socket.socket, echo: _Echo) -> None:
    """The server hears what is said; the client hears nothing, also when others are well again."""
    before.switch(Fault.HALF_OPEN)
    with pytest.raises(TimeoutError):
        ask(client, b"anybody?", within_s=SOON_S)
    wait_until(lambda: echo.heard.endswith(b"anybody?"), LATE_S)
    before.switch(Fault.NONE)
    client.settimeout(SOON_S)
    with pytest.raises(TimeoutError):
        client.recv(1)
    with connect(before) as new:
        assert ask(new) == b"hello"


def test_gone(before: Proxy, client: socket.socket, echo: _Echo) -> None:
    """No byte is acknowledged, so that the kernel gives up in the end; no connection is made until others are well."""
    before.switch(Fault.GONE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 300)
    with pytest.raises(TimeoutError, match="timed out") as gave_up:
        ask(client, b"anybody?")
    assert gave_up.value.errno is not None, "it was the kernel that gave up, not the test"
    with pytest.raises(TimeoutError):
        connect(before, within_s=SOON_S)
    before.switch(Fault.NONE)
    with connect(before) as new:
        assert ask(new) == b"hello"
    assert b"anybody?" not in echo.heard


def test_some_of_them(before: Proxy, client: socket.socket) -> None:
    """The others, and new ones if they are to be, are well."""
    with connect(before) as other:
        assert ask(other) == b"hello"
        assert before.switch(Fault.RESET, iter([True, False]).__next__, new=False) == 1
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert ask(other) == b"hello"
    with connect(before) as new:
        assert ask(new) == b"hello"
