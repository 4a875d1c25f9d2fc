"""Tables of what people are told."""

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, UniqueConstraint, text

from db.tables.base import BigId, metadata, text_column

alerts = Table(
    "alerts",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    # budget or health
    Column("topic", Text, nullable=False),
    # of a budget threshold or overrun; of health degraded, failing or recovered
    Column("kind", Text, nullable=False),
    # What it is about: the row number of a budget, or a component.
    Column("subject", Text, nullable=False),
    # Told once of each: the period and percentage, or model, of a budget; the round of checks.
    Column("occasion", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    # All that is told, as it was at that moment, as JSON.
    Column("facts", Text, nullable=False),
    UniqueConstraint("topic", "subject", "kind", "occasion"),
    sqlite_autoincrement=True,
)
Index("ix_alerts_at_ms", alerts.c.at_ms)

alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("alert_id", BigInteger, primary_key=True, autoincrement=False),
    # log, mail or webhook; whoever is set up for one makes the row at the first try
    Column("channel", Text, primary_key=True),
    # pending, sent, or given_up
    Column("state", Text, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("next_try_ms", BigInteger, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False, server_default="0"),
    Column("sent_ms", BigInteger),
    text_column("error"),
)
Index(
    "ix_alert_deliveries_pending",
    alert_deliveries.c.channel,
    alert_deliveries.c.next_try_ms,
    postgresql_where=text("state = 'pending'"),
    sqlite_where=text("state = 'pending'"),
)
