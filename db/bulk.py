"""A list of rows as a table, handed over in one bind parameter.

A thousand rows as one JSON document cost one statement instead of a thousand: `insert(t).from_select(names,
select(rows))` and `update(t).where(t.c.id == rows.c.id).values(...)` work set-wise. `Bulk` does so where it pays.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
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
    Update,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.types import TypeEngine

from db.prepared import DIALECTS, Prepared

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
        compiled = row_wise.compile(dialect=DIALECTS["sqlite"])
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
