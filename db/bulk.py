"""A list of rows as a table, handed over in one bind parameter.

A thousand rows as one JSON document cost one statement instead of a thousand: `insert(t).from_select(names,
select(rows))` and `update(t).where(t.c.id == rows.c.id).values(...)` work set-wise. `Bulk` does so where it pays.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    Dialect,
    Executable,
    FromClause,
    Insert,
    Table,
    Text,
    Update,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeEngine

INT: TypeEngine[Any] = BigInteger()
STR: TypeEngine[Any] = Text()
ROW = "row_"
BOOL: TypeEngine[Any] = Boolean()


def rows_of(dialect: str, columns: Mapping[str, TypeEngine[Any]]) -> FromClause:
    """The rows bound as `:rows` (see `Transaction.bulk`), as something to select from, with those columns."""
    if dialect == "postgresql":
        source = func.json_to_recordset(cast(bindparam("rows", type_=Text), JSON))
        typed = [column(name, type_) for name, type_ in columns.items()]
        return source.table_valued(*typed, name="given").render_derived(with_types=True)
    each = func.json_each(bindparam("rows", type_=Text)).table_valued("value")
    picked = [
        func.json_extract(each.c.value, f"$.{name}", type_=type_).label(name)
        for name, type_ in columns.items()
    ]
    return select(*picked).subquery("given")


class Bulk:
    """One statement for many rows: set-wise on PostgreSQL, where a round trip is dear; row by row inside the driver
    on SQLite, where that is four times as fast as reading JSON.

    Args:
        columns: What a row holds.
        set_wise: The statement, reading `rows_of("postgresql", columns)`.
        row_wise: The same for one row, whose values are bound by column name with `row_` before it.
    """

    def __init__(
        self, columns: Mapping[str, TypeEngine[Any]], *, set_wise: Executable, row_wise: Insert | Update
    ) -> None:
        self.set_wise = Prepared(set_wise)
        compiled = row_wise.compile(dialect=_DIALECTS["sqlite"])
        self.driver_sql = str(compiled)
        order = compiled.positiontup or ()
        self._constants = {name: compiled.params[name] for name in order if not name.startswith(ROW)}
        self._pick = itemgetter(
            *(name.removeprefix(ROW) if name.startswith(ROW) else (name,) for name in order)
        )

    def driver_rows(
        self, table: Sequence[Mapping[str, Any]], values: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        """The rows as the driver takes them, in the order of `driver_sql`; `values` are the same for all."""
        if not self._constants:
            return list(map(self._pick, table))
        # A constant may have the name of a column: `claim_id = NULL WHERE claim_id = :row_claim_id`.
        shared: dict[Any, Any] = {(name,): value for name, value in {**self._constants, **values}.items()}
        return [self._pick({**shared, **row}) for row in table]


def bulk_insert(table: Table, columns: Mapping[str, TypeEngine[Any]]) -> Bulk:
    """Insert rows, column for column."""
    given = rows_of("postgresql", columns)
    return Bulk(
        columns,
        set_wise=insert(table).from_select(list(columns), select(*given.c)),
        row_wise=insert(table).values({name: bindparam(f"{ROW}{name}") for name in columns}),
    )


def bulk_update(columns: Mapping[str, TypeEngine[Any]], make: Callable[[Mapping[str, Any]], Update]) -> Bulk:
    """Update rows by the statement that `make` makes from a row's columns."""
    given = rows_of("postgresql", columns)
    return Bulk(
        columns,
        set_wise=make({name: given.c[name] for name in columns}),
        row_wise=make({name: bindparam(f"{ROW}{name}", type_=type_) for name, type_ in columns.items()}),
    )


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
        compiled: Any = statement.compile(dialect=_DIALECTS[dialect])  # type: ignore[attr-defined]
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


_DIALECTS: Mapping[str, Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "postgresql": psycopg.dialect(),  # type: ignore[no-untyped-call]
}


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
