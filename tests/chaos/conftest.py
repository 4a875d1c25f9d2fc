"""What is fought over: an arena on each database, and how much is to be done in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.arena import Arena, home, machines
from tests.support.servers import PostgresCluster

SEEDS = int(os.environ.get("CHAOS_SEEDS", "1"))
LINES = int(os.environ.get("CHAOS_LINES", "200"))
BATCHES = int(os.environ.get("CHAOS_BATCHES", "30"))
PATIENCE_S = 90.0 * max(1, LINES // 200)


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
