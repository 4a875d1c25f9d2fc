"""The two databases and their drivers: how each is opened, and what their complaints mean."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError

from batchmill.errors import DatabaseError, SettingsError

BUSY_TIMEOUT_MS = 2_000
"""How long SQLite itself waits for a lock: short, as Python sees no signal meanwhile. `Database.wait_s` goes on."""

LOCK_TURN_S = 0.002
"""How long we wait between two looks whether a lock is free. SQLite itself looks ever more seldom, at last ten times in
a second: beside a writer that is never idle it missed the moments between two transactions for up to a second and a
half (ADR 0046)."""

PING_AFTER_S = 1.0
"""A connection that has been idle for longer is asked whether it still stands before it is used again."""

WRITES = "sqlite_writes"
"""Execution option: this transaction takes SQLite's write lock as it begins."""

USED_LAST_FIRST = True
"""Which of several idle connections is used next. On SQLite each has pages of its own in memory, and throws them all
away once another has written: taken in turn, they would read the same pages again at every transaction."""

WHEN_GONE = {
    "connect_timeout": 10,
    "tcp_user_timeout": 20_000,  # for what we have said and nobody acknowledges
    "keepalives_idle": 10,  # while we wait for an answer
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""After 20 s a PostgreSQL server that is gone without a word (a cable, a firewall, a machine) counts as gone; the
system would wait for a quarter of an hour, or two hours. libpq's parameters; DATABASE_URL may say otherwise."""

LONGEST_IDLE = "10s"
"""Who says nothing for so long within a transaction stands still, or is gone without a word: the server ends it, as
others wait for its locks, by which its lease could not be taken from it either. Less than a lease; unless the server
itself is set to end such transactions."""

_LONGEST_IDLE = """
SELECT set_config('idle_in_transaction_session_timeout', %s, false)
WHERE current_setting('idle_in_transaction_session_timeout') = '0'
"""

OLDEST_SQLITE = (3, 38)


def make_engine(url: str, wait_s: float) -> Engine:
    """An engine for that URL; nothing is connected yet.

    Args:
        wait_s: How long SQLite's write lock is waited for.

    Raises:
        SettingsError: The URL cannot be read, or names a database that batchmill does not know.
        DatabaseError: SQLite is too old, or its folder cannot be made.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise SettingsError(
            "DATABASE_URL is no URL that can be read",
            "for example postgresql+psycopg://user:password@host/name; percent-encode what is special in a password",
        ) from error
    if parsed.get_backend_name() == "sqlite":
        return _make_sqlite_engine(url, parsed.database, wait_s)
    if parsed.drivername == "postgresql+psycopg":
        return _make_postgresql_engine(url)
    raise SettingsError(
        f"DATABASE_URL names the database {parsed.drivername!r}; batchmill knows sqlite and postgresql",
        "for example postgresql+psycopg://user:password@host/name",
    )


def _make_postgresql_engine(url: str) -> Engine:
    given = make_url(url).query
    unsaid = {name: value for name, value in WHEN_GONE.items() if name not in given}
    engine = create_engine(url, pool_size=4, pool_use_lifo=USED_LAST_FIRST, connect_args=unsaid)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # We ask by key, some hundred rows at a time. While a table is small or its statistics are old the planner
        # would rather read all of it, and a prepared plan goes on doing so when it has grown.
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
            cursor.execute(_LONGEST_IDLE, (LONGEST_IDLE,))
        connection.commit()

    @event.listens_for(engine, "checkin")
    def _note(_connection: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ping(connection: Any, record: Any, _proxy: object) -> None:
        # As SQLAlchemy's `pool_pre_ping`, yet not before every transaction of a writer that writes without a pause.
        # Nor of a connection just made: SQLAlchemy takes the second that fails for an error of the program's.
        used_at = record.info.get("used_at")
        is_fresh = used_at is None or time.monotonic() - used_at < PING_AFTER_S
        if connection.closed or not (is_fresh or _answers(connection)):
            raise DisconnectionError

    return engine


def _answers(connection: Any) -> bool:
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except connection.Error:
        return False
    return True


def _make_sqlite_engine(url: str, path: str | None, wait_s: float) -> Engine:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise DatabaseError(
            f"this Python brings SQLite {sqlite3.sqlite_version}; batchmill needs 3.38 or newer",
            "use a newer Python, or set DATABASE_URL to a PostgreSQL database",
        )
    file = Path(path) if path and path != ":memory:" else None
    if file:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise database_error(url, f"its folder cannot be made: {error.strerror}") from error
    connect_args = {"timeout": wait_s, "check_same_thread": False}
    pool = {"pool_use_lifo": USED_LAST_FIRST} if file else {}  # what is in memory has one connection
    engine = create_engine(url, connect_args=connect_args, **pool)

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        pragmas = ("synchronous=NORMAL", "cache_size=-8192", "journal_size_limit=67108864")
        for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", *pragmas):
            connection.execute(f"PRAGMA {pragma}").close()
        # On a new file SQLite answers "locked" to the second that asks for WAL at once, whatever the timeout.
        _wait_for_lock(lambda: connection.execute("PRAGMA journal_mode=WAL").close(), wait_s)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        if connection.get_execution_options().get(WRITES):
            _take_write_lock(driver, wait_s)
        else:
            driver.execute("BEGIN").close()

    return engine


def _take_write_lock(connection: sqlite3.Connection, wait_s: float) -> None:
    """Begin a transaction that may write; it is we who wait for the lock, not SQLite."""
    connection.execute("PRAGMA busy_timeout=0").close()
    try:
        _wait_for_lock(lambda: connection.execute("BEGIN IMMEDIATE").close(), wait_s)
    finally:
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}").close()


def _wait_for_lock(do: Callable[[], object], wait_s: float) -> None:
    """Wait for SQLite's lock in short turns; Ctrl-C does not wait."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            do()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(LOCK_TURN_S)


@contextlib.contextmanager
def named_errors(url: str, dialect: Dialect) -> Iterator[None]:
    """Turn the driver's words, or SQLAlchemy's of it, into ours; what can pass is a `DatabaseError`, the rest is a bug
    and stays as it is."""
    driver: Any = dialect.loaded_dbapi
    try:
        yield
    except (DBAPIError, driver.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
        # SQLite says of a damaged file neither "operational" nor which kind it is.
        is_damaged = type(cause) is sqlite3.DatabaseError
        if not (isinstance(cause, driver.OperationalError) or is_lost or is_damaged):
            raise
        raise database_error(url, str(_first(cause, driver))) from error


def _first(error: Any, driver: Any) -> Any:
    """What came first: a connection that was lost cannot be rolled back either, and says no more than that."""
    while isinstance(error.__context__, driver.Error):
        error = error.__context__
    return error


_DAMAGED = "it is damaged: put back a copy, or move it away to begin anew (what was answered is asked again)"
_FULL = "free some space; nothing that was accepted is lost, and the same command goes on"
_TOO_MANY = "raise max_connections on the server, or start fewer worker processes"


def database_error(url: str, cause: str) -> DatabaseError:
    """An error that names the database, without its password, and what to do about this cause."""
    where = make_url(url).render_as_string(hide_password=True)
    first_line = cause.strip().splitlines()[0] if cause.strip() else "no reason given"
    hints = {
        "database is locked": "another process has held it for too long; end that one, or raise "
        "BATCHMILL_DATABASE_WAIT_S, then run the same command again",
        "disk is full": _FULL,
        "No space left on device": _FULL,
        "disk I/O error": "check the disk; nothing that was accepted is lost, and the same command goes on",
        "not a database": _DAMAGED,
        "malformed": _DAMAGED,
        "readonly database": "check the permissions of the file and of its folder",
        "unable to open": "check the folder's permissions, or name another home with BATCHMILL_HOME or --home",
        "cannot be made": "check the permissions, or name another home with BATCHMILL_HOME or --home",
        "whose connection is gone": "end that connection on the server (pg_stat_activity shows it idle in transaction)",
        "no such table": "run `batchmill db upgrade`",
        "authentication failed": "correct user and password in DATABASE_URL; percent-encode what is special in them",
        "too many clients": _TOO_MANY,
        "connection slots": _TOO_MANY,
        "does not exist": "create it (createdb, createuser), or correct DATABASE_URL",
    }
    hint = next(
        (text for sign, text in hints.items() if sign in cause),
        "check that the database is up, then try again",
    )
    return DatabaseError(f"database {where}: {first_line}", hint)
