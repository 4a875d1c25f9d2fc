"""Which of a database's connections is used."""

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
