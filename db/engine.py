"""The way to the database: one `Database`, on SQLite or PostgreSQL, and its transactions."""

import contextlib
import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
import structlog
from sqlalchemy import Connection, Engine, Executable, event, text

from batchmill.clock import Clock, SystemClock
from batchmill.errors import DatabaseError
from db.bulk import Bulk
from db.drivers import WRITES, database_error, make_engine, named_errors
from db.prepared import DriverStatement, Prepared

log = structlog.get_logger()
T = TypeVar("T")


class ServerClock:
    """The database server's time, so that leases mean the same on every machine.

    Asks the server once a minute and goes by this machine's monotonic clock in between.
    """

    def __init__(self, engine: Engine, ask_every_s: float = 60.0) -> None:
        self._engine = engine
        self._ask_every_s = ask_every_s
        self._asked = (
            float("-inf"),
            0.0,
        )  # when, by the monotonic clock, and the answer: one value for all threads

    def now_ms(self) -> int:
        """Milliseconds since 1970 in UTC, as the server knows them (to half a round trip)."""
        asked_at, server_ms = self._asked
        if time.monotonic() - asked_at > self._ask_every_s:
            asked_at, server_ms = self._asked = self._ask()
        return int(server_ms + (time.monotonic() - asked_at) * 1000)

    def _ask(self) -> tuple[float, float]:
        with self._engine.connect() as connection:
            before = time.monotonic()
            value = connection.scalar(text("SELECT extract(epoch FROM clock_timestamp()) * 1000"))
            after = time.monotonic()
        return (before + after) / 2, float(value or 0)


@dataclass(slots=True)
class Transaction:
    """One open transaction; the stores write through it."""

    connection: Connection
    now_ms: int
    dialect: str

    def rows(self, statement: Executable | Prepared, **values: Any) -> Sequence[Any]:
        """Run a statement and fetch every row of its answer."""
        if isinstance(statement, Prepared):
            prepared = statement[self.dialect]
            return prepared.rows(self._execute(prepared, values))
        return self.connection.execute(statement, values).all()

    def run(self, statement: Executable | Prepared, **values: Any) -> int:
        """Run a statement; how many rows it touched."""
        if isinstance(statement, Prepared):
            return int(self._execute(statement[self.dialect], values).rowcount)
        return self.connection.execute(statement, values).rowcount

    def commit_lazily(self) -> None:
        """Do not wait for the disk at the commit: for what is worth nothing until a later commit, which does wait.

        That one is on disk only when all before it are. SQLite does not wait in any case.
        """
        if self.dialect == "postgresql":
            self.run(_LAZILY)

    def bulk(self, statement: Bulk, table: Sequence[Mapping[str, Any]], **values: Any) -> int:
        """Run a statement for each of these rows, `values` being the same for all; how many rows it touched."""
        if not table:
            return 0
        if self.dialect == "sqlite":
            rows = statement.driver_rows(table, values)
            return self._execute_many(statement.driver_sql, rows)
        return self.run(statement.set_wise, rows=_as_json(table, self.dialect), **values)

    def set_wise(self, statement: Prepared, table: Sequence[Mapping[str, Any]], **values: Any) -> int:
        """Run a statement that reads `db.bulk.rows_of(...)` and answers with nothing; how many rows it touched."""
        return self.run(statement, rows=_as_json(table, self.dialect), **values) if table else 0

    def bulk_rows(
        self, statement: Prepared, table: Sequence[Mapping[str, Any]], **values: Any
    ) -> Sequence[Any]:
        """Run a statement that reads `db.bulk.rows_of(...)` and fetch every row of its answer."""
        return self.rows(statement, rows=_as_json(table, self.dialect), **values) if table else []

    @property
    def _driver(self) -> Any:
        return self.connection.connection.dbapi_connection

    def _execute(self, statement: DriverStatement, values: Mapping[str, Any]) -> Any:
        return self._driver.execute(statement.sql, statement.bind(values))

    def _execute_many(self, sql: str, rows: Sequence[Any]) -> int:
        return int(self._driver.executemany(sql, rows).rowcount)


def _as_json(table: Sequence[Mapping[str, Any]], dialect: str) -> str:
    """A table as one parameter. PostgreSQL's text holds no NUL: one odd error message must not stop a whole commit."""
    document = orjson.dumps(table)
    if dialect == "postgresql" and b"\\u0000" in document:
        document = orjson.dumps([{name: without_nul(value) for name, value in row.items()} for row in table])
    return document.decode()


def without_nul(value: Any) -> Any:
    """A value that PostgreSQL takes: its text holds no NUL."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


@dataclass(slots=True)
class Database:
    """One database and its clock.

    Args:
        url: `sqlite:///path` or `postgresql+psycopg://user:password@host/name`.
        clock: Tells the time; None means the server's own on PostgreSQL, this machine's on SQLite.
        wait_s: How long SQLite's write lock is waited for.
        patience_s: How long `persist` tries again.
    """

    url: str
    clock: Clock | None = None
    wait_s: float = 30.0
    patience_s: float = 60.0
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = make_engine(self.url, self.wait_s)
        if self.clock is None:
            self.clock = SystemClock() if self.dialect == "sqlite" else ServerClock(self.engine)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.engine.dialect.name

    def now_ms(self) -> int:
        """Milliseconds since 1970; the only time that leases, due times and rows know."""
        assert self.clock is not None
        return self.clock.now_ms()

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that may write: commits at the end, rolls back on any exception.

        On SQLite it takes the write lock at once: a read that later wants to write would fail at once,
        whatever the busy timeout.
        """
        with self._transaction(writes=True) as transaction:
            yield transaction

    @contextlib.contextmanager
    def read(self) -> Iterator[Transaction]:
        """A transaction that only reads."""
        with self._transaction(writes=False) as transaction:
            yield transaction

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """A transaction that only reads, much, and all of it as of one moment; it keeps nobody from writing."""
        with self.read() as transaction:
            if self.dialect == "postgresql":
                transaction.run(_SNAPSHOT)
            yield transaction

    def persist(self, do: Callable[[Transaction], T]) -> T:
        """Run one writing transaction, again and again while what stops it may pass, and never a second time once it
        is committed: when the connection dies while it commits, the server is asked what became of it.

        Raises:
            DatabaseError: It could not be done in `patience_s`; it is not written, as far as the server could be asked.
        """
        begun = time.monotonic()
        for nth in itertools.count():
            ticket: str | None = None
            try:
                with self.write() as tx:
                    result = do(tx)
                    ticket = _ticket(tx)
                return result
            except DatabaseError as error:
                log.warning("database_write_failed", nth=nth, error=error.message)
                left_s = self.patience_s - (time.monotonic() - begun)
                if ticket is not None and self._is_committed(ticket, left_s):
                    return result
                if left_s < 0:
                    raise
                _pause(nth)
        raise AssertionError("unreachable")

    def _is_committed(self, ticket: str, within_s: float) -> bool:
        """What became of a transaction whose commit was not acknowledged."""
        deadline = time.monotonic() + within_s
        for nth in itertools.count():
            try:
                with self.read() as tx:
                    status = tx.rows(_status, ticket=ticket)[0].fate
                if status != "in progress":
                    return bool(status == "committed")
                if time.monotonic() > deadline:
                    raise database_error(self.url, "it holds on to a commit whose connection is gone")
            except DatabaseError:
                if time.monotonic() > deadline:
                    raise
            _pause(nth)
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Transaction]:
        with named_errors(self.url, self.engine.dialect), self.engine.connect() as connection:
            connection.execution_options(**{WRITES: writes})
            with connection.begin():
                # Only now: SQLite may have waited for its lock, for longer than a lease lasts.
                yield Transaction(connection, self.now_ms(), self.dialect)

    def close(self) -> None:
        """Close every connection; one that is still in use, when it is no longer."""
        pool = self.engine.pool
        self.engine.dispose()
        event.listen(pool, "checkin", _close)  # nobody else would: the pool is no longer the engine's


def _close(connection: Any, _record: object) -> None:
    if connection is not None:  # it has not been closed yet
        connection.close()


_SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
_which = Prepared(text("SELECT CAST(pg_current_xact_id_if_assigned() AS text) AS ticket"))
_LAZILY = text("SET LOCAL synchronous_commit TO off")
_status = text("SELECT pg_xact_status(CAST(:ticket AS xid8)) AS fate")


def _ticket(tx: Transaction) -> str | None:
    """By this the server can tell later whether the transaction was committed; None where a failed commit is none."""
    if tx.dialect != "postgresql":
        return None
    found: str | None = tx.rows(_which)[0].ticket
    return found


def _pause(nth: int) -> None:
    time.sleep(min(2.0, 0.05 * 2 ** min(nth, 10)) * (0.5 + random.random() / 2))
