"""Empties a PostgreSQL database, so that the next test gets it as fresh: a tenth of the work of another one."""

from contextlib import closing
from typing import Any

import psycopg
from sqlalchemy import make_url

from db.tables import metadata

_CATALOGUES = ("pg_attribute", "pg_constraint", "pg_index", "pg_proc", "pg_trigger", "pg_type")
_SCHEMA = " UNION ALL ".join(
    [
        *(f"SELECT '{name}', count(*), max(xmin::text::bigint) FROM {name}" for name in _CATALOGUES),
        "SELECT 'settings', count(*), 0 FROM pg_db_role_setting"
        " WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
        "SELECT version_num, 1, 1 FROM alembic_version",
    ]
)
"""Says something else once anybody has changed a table, an index, a function, a trigger or the version."""

_TURN_OUT = """SELECT pg_terminate_backend(pid, 10_000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""

_EMPTY = f"""DO $$ DECLARE one record; BEGIN
    {" ".join(f"DELETE FROM {name};" for name in metadata.tables)}
    FOR one IN SELECT oid::regclass AS name FROM pg_class WHERE relkind = 'S' LOOP
        PERFORM setval(one.name, 1, false);
    END LOOP;
END $$"""

_IN_PLACE = "SET session_replication_role = replica"
"""No trigger runs, so that tables may be emptied in any order."""

MOST_TIMES = 2
"""So many times as large as a fresh one a database may have grown: whoever comes later reads its empty pages."""


class Emptying:
    """Knows what a fresh database looks like.

    Args:
        url: The template of all of them.
    """

    def __init__(self, url: str) -> None:
        with closing(_connect(url)) as connection:
            self._schema, self._bytes = _look(connection)
            rows = " OR ".join(f"EXISTS (SELECT 1 FROM {name})" for name in metadata.tables)
            self._is_possible = connection.execute(f"SELECT {rows}").fetchone() == (False,)

    def empty(self, url: str) -> bool:
        """Turn everybody out and delete every row; False when it cannot be made as good as fresh."""
        if not self._is_possible:
            return False
        try:
            with closing(_connect(url)) as connection:
                connection.execute(_TURN_OUT)
                schema, size = _look(connection)
                if schema != self._schema or size > MOST_TIMES * self._bytes:
                    return False
                connection.execute(_IN_PLACE)
                connection.execute(_EMPTY)
        except psycopg.Error:
            return False
        return True


def _connect(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        make_url(url).set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
    )


def _look(connection: psycopg.Connection[Any]) -> tuple[list[Any], int]:
    """The schema's mark, and the size in bytes."""
    ((size,),) = connection.execute("SELECT pg_database_size(current_database())").fetchall()
    return sorted(connection.execute(_SCHEMA).fetchall()), int(size)
