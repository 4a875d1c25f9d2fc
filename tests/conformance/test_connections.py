"""Which of a database's connections is used, and that all are closed."""

import gc

import pytest
from sqlalchemy import text

from db.engine import Database, Transaction


def session_of(tx: Transaction) -> int:
    """The driver's connection below a transaction."""
    return id(tx.connection.connection.dbapi_connection)


def test_the_one_used_last_is_used_next(database: Database) -> None:
    """However many there are: on SQLite each of the others would have to read its pages anew."""
    with database.read() as first, database.read() as second:
        assert session_of(first) != session_of(second)
        last = session_of(first)
    for _ in range(4):
        with database.write() as tx:
            assert session_of(tx) == last


def test_one_in_use_is_closed_when_it_no_longer_is(database_url: str) -> None:
    """Whoever was at work when its database was closed ends first, and leaves nothing open."""
    database = Database(database_url)
    with database.read() as tx:
        database.close()
        assert tx.rows(text("SELECT 1"))
        driver = tx.connection.connection.dbapi_connection
    with pytest.raises(Exception, match="closed"):
        driver.execute("SELECT 1")
    del driver, tx, database
    gc.collect()  # an open connection would be told of here
