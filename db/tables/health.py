"""Tables of how the parts of a mill are."""

from sqlalchemy import BigInteger, Column, Index, Table, Text

from db.tables.base import BigId, count_column, metadata, text_column

health_states = Table(
    "health_states",
    metadata,
    # database, provider:openai, disk:a-host
    Column("component", Text, primary_key=True),
    # ok, degraded or failing, as the last check has shown it
    Column("level", Text, nullable=False),
    # When checks began to show that level without a break.
    Column("since_ms", BigInteger, nullable=False),
    Column("message", Text, nullable=False),
    text_column("hint"),
    count_column("took_ms"),
    Column("checked_ms", BigInteger, nullable=False),
    # The round of checks that was last noted: each counts once, however many make it.
    Column("round_ms", BigInteger, nullable=False),
    # The level that people have been told of; see `batchmill.health.course`.
    Column("told_level", Text, nullable=False),
    # The first check of those up to the last that did not show ok.
    Column("ill_since_ms", BigInteger),
)

health_changes = Table(
    "health_changes",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("component", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("level", Text, nullable=False),
    Column("message", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("ix_health_changes_component_id", health_changes.c.component, health_changes.c.id)
