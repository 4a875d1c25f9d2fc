"""What all tables are made with."""

from enum import StrEnum

from sqlalchemy import BigInteger, Column, ColumnElement, Integer, MetaData, Text, literal_column

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

BigId = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite counts up only columns declared INTEGER."""


def word(state: StrEnum) -> ColumnElement[str]:
    """A state written into the statement itself: as a parameter it would hide from a prepared plan that a partial
    index on that state serves."""
    return literal_column(f"'{state}'", Text)


def text_column(name: str) -> Column[str]:
    """Text that is empty where nothing is said."""
    return Column(name, Text, nullable=False, server_default="")


def count_column(name: str) -> Column[int]:
    """A whole number that begins with 0."""
    return Column(name, BigInteger, nullable=False, server_default="0")
