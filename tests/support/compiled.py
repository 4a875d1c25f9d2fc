"""Compiles a statement once for all databases of the tester's process: each test opens its own, and would anew."""

from typing import Any, ClassVar, Self

from sqlalchemy import Engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite


class _Shared:
    """One dialect for all engines that are made alike, which is what SQLAlchemy keeps compiled statements by."""

    _made: ClassVar[dict[Any, Any]] = {}
    _is_made = False

    def __new__(cls, **how: Any) -> Self:
        """The one there is: of an engine that commits by itself, say, it is another."""
        alike = (cls, *sorted((name, id(value)) for name, value in how.items()))
        if alike not in cls._made:
            cls._made[alike] = super().__new__(cls)
        return cls._made[alike]  # type: ignore[no-any-return]

    def __init__(self, **how: Any) -> None:
        if not self._is_made:
            self._is_made = True
            self._how = how  # kept, so that no other value has its id
            super().__init__(**how)

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        """Let the engine compile nothing that another has compiled."""
        engine.update_execution_options(compiled_cache=_compiled.setdefault(cls, {}))


class SharedSQLite(_Shared, SQLiteDialect_pysqlite):
    """SQLite."""

    supports_statement_cache = True


class SharedPostgreSQL(_Shared, PGDialect_psycopg):
    """PostgreSQL."""

    supports_statement_cache = True


_compiled: dict[type, dict[Any, Any]] = {}


def share_compiled() -> None:
    """From now on engines share what they compile."""
    registry.register("sqlite", __name__, "SharedSQLite")
    registry.register("postgresql.psycopg", __name__, "SharedPostgreSQL")
