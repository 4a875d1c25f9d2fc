"""The HTTP service in a thread of the tester's own, on a real socket, and a client that sees every byte."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import orjson
import uvicorn
from pydantic import SecretStr

from api.server import server_of
from batchmill.settings import Settings
from tests.support.clocks import PATIENCE_S
from tests.support.mill import wait_until
from workers.serving.front import listen
from workers.serving.keys import Scope
from workers.serving.service import Service, make_service


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A server-sent event."""

    kind: str
    id: str
    data: Any


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of server-sent events, from its head on."""

    response: HTTPResponse
    connection: HTTPConnection

    def next(self) -> Event | None:
        """The next event; None when the stream has ended. Comments are events of the kind ":"."""
        fields = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        if not fields:
            return None
        if "" in fields:
            return Event(kind=":", id="", data=fields[""])
        return Event(kind=fields["event"], id=fields.get("id", ""), data=orjson.loads(fields["data"]))

    def rest(self) -> list[Event]:
        """All events until it ends."""
        try:
            return list(iter(self.next, None))
        finally:
            self.leave()

    def leave(self) -> None:
        """Close the connection, whatever is still to come."""
        self.response.close()
        self.connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A service that answers."""

    service: Service
    server: uvicorn.Server
    port: int

    def token(self, tenant: str, scope: Scope = Scope.PRODUCER) -> str:
        """A fresh key of a tenant."""
        return self.service.keyring.create(name="test", tenant=tenant, scope=scope)[1]

    def ask(
        self, path: str, token: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> tuple[HTTPResponse, bytes]:
        """GET; the answer's head and body."""
        with contextlib.closing(self._connection()) as connection:
            response = self._asked(connection, path, token, headers or {})
            return response, response.read()

    def events(
        self, path: str, token: str | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Stream:
        """GET; a stream."""
        connection = self._connection()
        return Stream(self._asked(connection, path, token, headers or {}), connection)

    def _connection(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def _asked(
        self, connection: HTTPConnection, path: str, token: str | None, headers: Mapping[str, str]
    ) -> HTTPResponse:
        bearer = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request("GET", path, headers={**bearer, **headers})
        return connection.getresponse()


@contextlib.contextmanager
def served(settings: Settings) -> Iterator[Served]:
    """A service that wants keys, for as long as the context lasts."""
    here = settings.model_copy(
        update={
            "service": settings.service.model_copy(update={"port": 0, "keys_secret": SecretStr("k" * 32)})
        }
    )
    service = make_service(here, wants_keys=True)
    with contextlib.closing(service), listen(here) as listening:
        server = server_of(service, listening.detach())
        with running(server):
            port = server.servers[0].sockets[0].getsockname()[1]
            yield Served(service=service, server=server, port=port)


@contextlib.contextmanager
def running(server: uvicorn.Server) -> Iterator[None]:
    """A server that answers in a thread, for as long as the context lasts."""
    thread = threading.Thread(target=server.run, name="service")
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), PATIENCE_S)
        yield
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the service did not end"
