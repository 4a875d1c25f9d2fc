"""Tables of reports: what was found, and who has been told."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, Table, Text, UniqueConstraint

from db.tables.base import BigId, metadata, text_column

installation = Table(
    "installation",
    metadata,
    # A single row: by its id, mails of two installations are told apart.
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    CheckConstraint("one = 1", name="single"),
)

reports = Table(
    "reports",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    # daily · weekly
    Column("kind", Text, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    # What it is called: daily-2026-11-05
    Column("name", Text, nullable=False, index=True),
    Column("made_ms", BigInteger, nullable=False),
    # All that it says, as JSON: every recipient and every try get the same.
    Column("facts", Text, nullable=False),
    UniqueConstraint("kind", "start_ms"),
    sqlite_autoincrement=True,
)

report_deliveries = Table(
    "report_deliveries",
    metadata,
    Column("report_id", BigInteger, primary_key=True, autoincrement=False),
    Column("recipient", Text, primary_key=True),
    Column("message_id", Text, nullable=False),
    # pending → sending: the mail is being handed over → sent; unknown: whoever handed it over was killed, or the
    # server's answer is missing; given_up: refused for good, or too old
    Column("state", Text, nullable=False),
    # Counted up by each who takes it: also the fence of whoever is at it.
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("next_try_ms", BigInteger, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False, server_default="0"),
    # When it came to the state it is in.
    Column("since_ms", BigInteger, nullable=False),
    text_column("error"),
)
