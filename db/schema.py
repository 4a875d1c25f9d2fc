"""The schema's version: bringing a database up to date, and refusing one that is not."""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from batchmill.errors import DatabaseError
from db.engine import Database
from db.tables import metadata

_MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x6261746368

if TYPE_CHECKING:
    from alembic.config import Config


def _config() -> "Config":
    from alembic.config import Config  # slow to import, and seldom needed

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def newest() -> str:
    """The version that this code works with."""
    return max(_known())


def _known() -> set[str]:
    return {path.name.split("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")}


def version(database: Database) -> str | None:
    """The version that the database is at; None when it is empty."""
    with database.read() as tx:
        if not inspect(tx.connection).has_table("alembic_version"):
            return None
        found = tx.rows(text("SELECT version_num FROM alembic_version"))
        return str(found[0][0]) if found else None


def nowhere() -> Database:
    """An empty database of this schema in memory, for whoever reads where there is none yet."""
    database = Database("sqlite:///:memory:")
    with database.write() as tx:
        metadata.create_all(tx.connection)
    return database


def upgrade(database: Database, to: str = "head") -> bool:
    """Bring the database up to date; whether there was anything to do. Two at once do no harm.

    Args:
        to: The version to stop at.

    Raises:
        DatabaseError: It cannot be reached, or was made by a newer batchmill.
    """
    current = version(database)
    if current == newest():
        return False
    _refuse_newer(database, current)
    from alembic import command

    with database.write() as tx:
        if tx.dialect == "postgresql":
            tx.run(text("SELECT pg_advisory_xact_lock(:key)"), key=_ADVISORY_LOCK)
        config = _config()
        config.attributes["connection"] = tx.connection
        command.upgrade(config, to)
    return True


def check(database: Database) -> None:
    """Make sure that the database is of this code's version.

    Raises:
        DatabaseError: It is older or newer, with what to do about it.
    """
    current = version(database)
    if current == newest():
        return
    _refuse_newer(database, current)
    state = "is empty" if current is None else f"has schema {current}, this batchmill works with {newest()}"
    raise DatabaseError(f"the database {state}", "run `batchmill db upgrade`")


def drift(database: Database) -> list[object]:
    """What differs between the database and the tables in the code; empty when the migrations are complete."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.read() as tx:
        return list(compare_metadata(MigrationContext.configure(tx.connection), metadata))


def _refuse_newer(database: Database, current: str | None) -> None:
    if current is not None and current not in _known():
        raise DatabaseError(
            f"the database has schema {current}, which this batchmill does not know", "use a newer batchmill"
        )
