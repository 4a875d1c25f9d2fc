"""What is fought over: an arena on each database, and how much is to be done in it."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from db import schema
from db.engine import Database
from tests.support.arena import Arena, Machines, home, machines
from tests.support.mill import Sandbox, sandbox
from tests.support.ordeal import LATENCY, Ordeal
from tests.support.servers import PostgresCluster

SEEDS = int(os.environ.get("SEEDS", "1"))
LINES = int(os.environ.get("CHAOS_LINES", "200"))
BATCHES = int(os.environ.get("CHAOS_BATCHES", "16"))
every_seed = pytest.mark.parametrize("seed", range(SEEDS))
mainly_on_server = pytest.mark.parametrize(
    "dialect", [pytest.param("sqlite", marks=pytest.mark.large), "postgresql"], indirect=True
)
mainly_at_home = pytest.mark.parametrize(
    "dialect", ["sqlite", pytest.param("postgresql", marks=pytest.mark.large)], indirect=True
)
"""Where time is short, on one database alone."""
PATIENCE_S = float(os.environ.get("CHAOS_PATIENCE_S", 90.0 * max(1, LINES // 200)))


@pytest.fixture
def crowd(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machines]:
    """Two workers on SQLite or PostgreSQL, each with a home of its own, and a Valkey between them."""
    valkey_url = request.getfixturevalue("valkey_url")
    if dialect == "sqlite":
        url = f"sqlite:///{tmp_path}/batchmill.db"
        with closing(Database(url)) as database:
            schema.upgrade(database)
        with machines(tmp_path, url, valkey_url, workers=2) as few:
            yield few
        return
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    url = cluster.create()
    with machines(tmp_path, url, valkey_url, workers=2) as few:
        yield few
    cluster.drop(url)


@pytest.fixture
def arena(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Arena]:
    """Four worker processes on SQLite with a broker of their own, or on PostgreSQL and Valkey."""
    if dialect == "sqlite":
        with home(tmp_path) as embedded:
            yield embedded
        return
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    url = cluster.create()
    with machines(tmp_path, url, request.getfixturevalue("valkey_url")) as shared:
        yield shared
    cluster.drop(url)


@pytest.fixture
def provider(tmp_path: Path, seed: int) -> Iterator[Sandbox]:
    """Answers in a while."""
    with sandbox(tmp_path, *LATENCY, "--seed", str(seed)) as one:
        yield one


@pytest.fixture
def ordeal(crowd: Machines, provider: Sandbox, tmp_path: Path, seed: int) -> Ordeal:
    """What two workers are to go through."""
    return Ordeal(crowd, provider, tmp_path, seed)
