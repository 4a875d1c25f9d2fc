"""Where a mill keeps its rows."""

from enum import StrEnum


class Store(StrEnum):
    """The databases that are measured."""

    SQLITE = "SQLite"
    POSTGRESQL = "PostgreSQL"
