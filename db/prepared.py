"""Statements that a worker executes all the time: compiled once, then handed to the driver as they are."""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import ARRAY, ColumnElement, Dialect, Executable, bindparam
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.ext.compiler import compiles

DIALECTS: Mapping[str, Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "postgresql": psycopg.dialect(),  # type: ignore[no-untyped-call]
}


class Prepared:
    """A statement that is executed often: compiled once for each database, and handed to its driver as it is.

    SQLAlchemy takes some forty microseconds to execute what the driver does in two, and a commit has twenty.
    Values go over as the driver takes them; a list only through `among`.

    Args:
        statement: The statement, or what builds it for a dialect.
    """

    def __init__(self, statement: Executable | Callable[[str], Executable]) -> None:
        self._statement = statement
        self._compiled: dict[str, DriverStatement] = {}

    def __getitem__(self, dialect: str) -> "DriverStatement":
        if dialect not in self._compiled:
            statement = self._statement(dialect) if callable(self._statement) else self._statement
            self._compiled[dialect] = DriverStatement(statement, dialect)
        return self._compiled[dialect]


class DriverStatement:
    """A statement in the words of one driver.

    Attributes:
        sql: With the driver's own placeholders.
    """

    def __init__(self, statement: Executable, dialect: str) -> None:
        compiled: Any = statement.compile(dialect=DIALECTS[dialect])  # type: ignore[attr-defined]
        if compiled.post_compile_params:
            raise ValueError(f"an IN of values has no fixed text; use `among`, or words: {compiled}")
        self.sql = str(compiled)
        open_ = {name for name, bind in compiled.binds.items() if bind.required}
        self._constants = {name: value for name, value in compiled.params.items() if name not in open_}
        self._order: Sequence[str] | None = compiled.positiontup
        self._row: Any = None

    def bind(self, values: Mapping[str, Any]) -> Sequence[Any] | Mapping[str, Any]:
        """The values as the driver takes them."""
        given = {**self._constants, **values}
        if self._order is None:
            return given
        bound = (given[name] for name in self._order)
        return [orjson.dumps(value).decode() if isinstance(value, list) else value for value in bound]

    def rows(self, cursor: Any) -> list[Any]:
        """What a cursor found, as named tuples."""
        found: list[Any] = cursor.fetchall()
        if not found:
            return []
        if self._row is None:
            names = [column[0] for column in cursor.description]
            self._row = namedtuple("Row", names, rename=True)  # type: ignore[misc]
        return list(map(self._row._make, found))


class among(ColumnElement[bool]):  # noqa: N801, reads as a function, as SQLAlchemy's own do
    """Whether a column is one of the values in the list bound by that name: one text for lists of any length, so that
    the statement is prepared but once."""

    inherit_cache = False

    def __init__(self, tested: ColumnElement[Any], name: str) -> None:
        self.tested, self.given = tested, bindparam(name, type_=ARRAY(tested.type))


@compiles(among, "sqlite")
def _among_on_sqlite(element: among, compiler: Any, **how: Any) -> str:
    tested, given = compiler.process(element.tested, **how), compiler.process(element.given, **how)
    return f"{tested} IN (SELECT value FROM json_each({given}))"


@compiles(among, "postgresql")
def _among_on_postgresql(element: among, compiler: Any, **how: Any) -> str:
    return f"{compiler.process(element.tested, **how)} = ANY ({compiler.process(element.given, **how)})"
