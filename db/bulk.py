"""A list of rows as a table, handed over in one bind parameter.

Sending a thousand rows as one JSON document costs one statement instead of a thousand, on both databases
alike: `insert(t).from_select(names, select(rows))` and `update(t).where(t.c.id == rows.c.id).values(...)`
then work set-wise.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Executable,
    FromClause,
    Insert,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.types import TypeEngine

INT: TypeEngine[Any] = BigInteger()
STR: TypeEngine[Any] = Text()
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


def insert_of(dialect: str, table: Table, columns: Mapping[str, TypeEngine[Any]]) -> Insert:
    """Insert the rows bound as `:rows` into a table, column for column."""
    given = rows_of(dialect, columns)
    return insert(table).from_select(list(columns), select(*given.c))


class PerDialect:
    """Statements that differ between the databases, built once for each."""

    def __init__(self, build: Any) -> None:
        self._build = build
        self._built: dict[str, Executable] = {}

    def __getitem__(self, dialect: str) -> Any:
        if dialect not in self._built:
            self._built[dialect] = self._build(dialect)
        return self._built[dialect]
