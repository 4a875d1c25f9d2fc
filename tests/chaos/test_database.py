"""A database that dies, restarts, cuts connections or lets nobody write: all that was accepted is done once."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from sqlalchemy import make_url

from tests.chaos.conftest import PATIENCE_S, every_seed
from tests.support.arena import Machines
from tests.support.breakable import Postgres, breakable_postgres
from tests.support.ordeal import Ordeal, two_outages
from tests.support.servers import on_postgresql

Deed = tuple[Callable[[Postgres, str], object], Callable[[Postgres, str], object]]
"""Its beginning and its end."""

DEEDS: Mapping[str, Deed] = {
    "killed": (lambda server, _: server.kill(), lambda server, _: server.start()),
    "restarted": (lambda server, _: server.restart(), lambda server, _: None),
    "cutting": (lambda server, url: cut(server, url), lambda server, url: cut(server, url)),
}
LONGER_THAN_A_LEASE_S = (2.5, 4.0)
HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def cut(server: Postgres, url: str, times: int = 5) -> None:
    """End all connections, again and again."""
    for _ in range(times):
        server.kill_connections(url)
        time.sleep(0.1)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """One of this file's own, with which anything may be done."""
    with breakable_postgres() as server:
        yield server


@pytest.mark.large
@on_postgresql
@pytest.mark.parametrize("deed", DEEDS)
@every_seed
def test_a_server(ordeal: Ordeal, crowd: Machines, postgres: Postgres, deed: str, seed: int) -> None:
    """What was committed is there, what was not is done again, and whoever does not know finds out."""
    url = crowd.mill.environ["DATABASE_URL"]
    begin, end = DEEDS[deed]
    batch = ordeal.begin()
    ahead = two_outages(seed, lambda: begin(postgres, url), lambda: end(postgres, url), lasts_s=(0.2, 1.5))
    ordeal.endure(ahead, within_s=PATIENCE_S)
    print(f"\n{deed}, seed {seed}: {ordeal.prove(batch)}")


@pytest.mark.large
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@every_seed
def test_a_file_that_another_has_locked(ordeal: Ordeal, crowd: Machines, seed: int) -> None:
    """Nobody writes for longer than a lease lasts: calls that were out are settled afterwards, or taken back."""
    path = make_url(crowd.mill.environ["DATABASE_URL"]).database
    assert path is not None
    lock = _Lock(path)
    batch = ordeal.begin()
    ordeal.endure(
        two_outages(seed, lock.take, lock.leave, lasts_s=LONGER_THAN_A_LEASE_S), within_s=PATIENCE_S
    )
    print(f"\nlocked, seed {seed}: {ordeal.prove(batch)}")


class _Lock:
    """SQLite's, in the hands of a process that has nothing to do with us."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._holder: subprocess.Popen[str] | None = None

    def take(self) -> None:
        """Return once it is held."""
        command = [sys.executable, "-c", HOLD_LOCK, self._path]
        self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "locked\n"

    def leave(self) -> None:
        """End whoever holds it."""
        assert self._holder is not None
        self._holder.communicate(timeout=30)
