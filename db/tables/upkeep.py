"""Tables of what runs by itself."""

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from db.tables.base import metadata, text_column

schedules = Table(
    "schedules",
    metadata,
    # A job: one at a time runs it, whoever that is.
    Column("name", Text, primary_key=True),
    # What was due before is not made up for.
    Column("since_ms", BigInteger, nullable=False),
    text_column("owner"),
    Column("lease_until_ms", BigInteger, nullable=False, server_default="0"),
)

schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column("job", Text, primary_key=True),
    Column("due_ms", BigInteger, primary_key=True, autoincrement=False),
    # running · done · failed: to be tried again, for as long as there are tries left
    Column("state", Text, nullable=False),
    # Counted up by each who takes it: also the fence of whoever runs it.
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("next_try_ms", BigInteger, nullable=False, server_default="0"),
    Column("started_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    text_column("owner"),
    # What came of it, as JSON.
    text_column("detail"),
    text_column("error"),
)
Index("ix_schedule_runs_started_ms", schedule_runs.c.started_ms)
