"""A server that goes away: told in its own words as the outage it is, and used again when it is back."""

from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import bindparam, event, select, text

from batchmill.errors import DatabaseError
from db import drivers
from db.engine import Database
from db.prepared import Prepared
from db.tables import batches
from tests.support.mill import wait_until
from tests.support.servers import PostgresCluster, on_postgresql

OFTEN = 10
"""The driver has the server prepare what it has executed five times."""

REASON = "terminating connection|server closed the connection"
"""The server's last word; or, if that was not heard any more, that it is gone."""

_find = Prepared(select(batches.c.id).where(batches.c.id == bindparam("id")))

pytestmark = on_postgresql


def find(database: Database) -> list[Any]:
    """Execute a statement that workers execute all the time."""
    with database.read() as tx:
        return list(tx.rows(_find, id=1 << 40))


def test_connection_ended_under_a_prepared_statement(
    database: Database, database_url: str, postgres: PostgresCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's reason is told, not that a dead connection cannot be rolled back; the next use is well."""
    monkeypatch.setattr(drivers, "PING_AFTER_S", 3_600.0)  # however slow the machine is, nobody looks before
    for _ in range(OFTEN):
        find(database)
    postgres.kill_connections(database_url)
    with pytest.raises(DatabaseError, match=REASON):
        find(database)
    assert find(database) == []


def is_there(database: Database, pid: int) -> bool:
    """Whether the server still has that connection."""
    with database.read() as tx:
        return bool(tx.rows(text("SELECT 1 FROM pg_stat_activity WHERE pid = :pid"), pid=pid))


def test_connection_ended_within_a_transaction(database: Database) -> None:
    """Nor does it matter that the driver calls it no operational error: here the server has waited for too long."""

    def idle() -> None:
        with database.write() as tx:
            pid = tx.rows(text("SELECT pg_backend_pid()"))[0][0]
            tx.run(text("SET idle_in_transaction_session_timeout = 1"))
            wait_until(lambda: not is_there(database, pid), 30)
            tx.rows(_find, id=1)

    with pytest.raises(DatabaseError, match=REASON):
        idle()
    assert find(database) == []


def test_who_stands_still_within_a_transaction(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeps nobody else from writing for long, and has written nothing itself."""
    monkeypatch.setattr(drivers, "LONGEST_IDLE", "500ms")
    lock = text("LOCK TABLE batches IN EXCLUSIVE MODE")
    with closing(Database(database_url)) as other:

        def stand_still() -> None:
            with database.write() as tx:
                tx.run(lock)
                with other.write() as others:
                    others.run(lock)
                tx.rows(_find, id=1)

        with pytest.raises(DatabaseError, match=REASON):
            stand_still()
    assert find(database) == []


def test_connection_that_died_while_idle_is_replaced(
    database: Database, database_url: str, postgres: PostgresCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes after a pause does not notice that the server was restarted meanwhile."""
    for _ in range(OFTEN):
        find(database)
    monkeypatch.setattr(drivers, "PING_AFTER_S", 0.0)
    postgres.kill_connections(database_url)
    assert find(database) == []


def test_server_that_ends_whatever_connects(
    database: Database, database_url: str, postgres: PostgresCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server (or a proxy before one that is down) that takes connections and drops them is an outage, too."""
    find(database)
    monkeypatch.setattr(drivers, "PING_AFTER_S", 0.0)

    def end(_connection: Any, _record: Any) -> None:
        postgres.kill_connections(database_url)

    postgres.kill_connections(database_url)
    event.listen(database.engine, "connect", end)
    with pytest.raises(DatabaseError, match=REASON):
        find(database)
    event.remove(database.engine, "connect", end)
    assert find(database) == []
