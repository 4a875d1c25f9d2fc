"""The stage: the real servers that everything is measured on, each started when it is first asked for."""

import json
import subprocess
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

from sqlalchemy import text

from benchmarks.figures import Part
from benchmarks.peers.environments import Pythons
from benchmarks.processes import parent_of
from benchmarks.sizes import Sizes
from benchmarks.store import Store
from benchmarks.workload import write_batch
from db import schema
from db.engine import Database
from tests.support.mill import BATCHMILL, Mill
from tests.support.servers import PostgresCluster, postgres_cluster, valkey_server


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A running `batchmill sandbox`."""

    url: str
    pid: int

    def calls(self) -> int:
        """How many calls it has received."""
        with urllib.request.urlopen(self.url.removesuffix("/v1") + "/sandbox/bill") as response:
            calls: int = json.load(response)["calls"]
            return calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A fresh installation and the way to its database."""

    mill: Mill
    database: Database


@dataclass
class Stage:
    """Servers and files for one session of measuring.

    Args:
        folder: For everything that is written.
        pythons: Those of the peers that are measured beside it.
        trouble: Which peers failed at what, and why.
    """

    folder: Path
    sizes: Sizes
    pythons: Pythons = field(default_factory=Pythons)
    trouble: dict[Part, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    _closing: ExitStack = field(default_factory=ExitStack)
    _providers: dict[str, Provider] = field(default_factory=dict)
    _homes: int = 0

    def close(self) -> None:
        """Stop every server."""
        self._closing.close()

    def batch_file(self, lines: int) -> Path:
        """A file of so many requests."""
        path = self.folder / f"{lines}.jsonl"
        return path if path.exists() else write_batch(path, lines)

    def empty_folder(self) -> Path:
        """A folder for something of its own."""
        self._homes += 1
        folder = self.folder / f"home-{self._homes}"
        folder.mkdir()
        return folder

    def provider(self, latency: str = "0") -> Provider:
        """A sandbox that answers so late, in seconds or as a range."""
        if latency not in self._providers:
            self._providers[latency] = self._closing.enter_context(_sandbox(latency))
        return self._providers[latency]

    @contextmanager
    def home(self, store: Store, provider: Provider) -> Iterator[Home]:
        """An installation of its own that calls that provider; nothing of it is left running."""
        folder = self.empty_folder()
        mill = Mill(folder=folder, environ={"OPENAI_BASE_URL": provider.url})
        if store is Store.POSTGRESQL:
            url = mill.environ["DATABASE_URL"] = self.postgres.create()
        else:
            mill.home.mkdir()
            url = f"sqlite:///{mill.home}/batchmill.db"
        database = Database(url)
        try:
            schema.upgrade(database)
            yield Home(mill=mill, database=database)
        finally:
            mill.close()
            database.close()
            if store is Store.POSTGRESQL:
                self.postgres.drop(url)

    @cached_property
    def postgres(self) -> PostgresCluster:
        """A PostgreSQL as it comes, commits waiting for the disk."""
        return self._closing.enter_context(postgres_cluster(durable=True))

    @cached_property
    def postmaster(self) -> int:
        """The pid of that server's first process."""
        database = Database(self.postgres.url("postgres"))
        try:
            with database.read() as tx:
                backend = int(tx.rows(text("SELECT pg_backend_pid()"))[0][0])
                return parent_of(backend)
        finally:
            database.close()

    @cached_property
    def log(self) -> IO[str]:
        """Where processes may say what nobody reads."""
        return self._closing.enter_context((self.folder / "log").open("w"))

    @cached_property
    def valkey_url(self) -> str:
        """A Valkey."""
        folder = self.folder / "valkey"
        folder.mkdir()
        return self._closing.enter_context(valkey_server(folder))


@contextmanager
def _sandbox(latency: str) -> Iterator[Provider]:
    process = subprocess.Popen(
        [BATCHMILL, "sandbox", "--port", "0", "--latency", latency],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            yield Provider(url=process.stdout.readline().strip(), pid=process.pid)
        finally:
            process.terminate()
