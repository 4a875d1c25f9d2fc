"""Tables of what is left when old data goes."""

from sqlalchemy import BigInteger, Column, Index, Table, Text

from db.tables.base import count_column, metadata, text_column

ledger_days = Table(
    "ledger_days",
    metadata,
    # A hash of all that tells one row from another: its cohort and the columns of what and who.
    Column("key", Text, primary_key=True),
    # Requests that are in exactly the same rows: added up over several of these, they count once.
    Column("cohort", BigInteger, nullable=False),
    # Of the zone that was in force when it was rolled up; `at_ms` is its middle, which is that date in other zones too.
    Column("day", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    # 0 = single requests, whose callers waited for them.
    Column("batch_id", BigInteger, nullable=False),
    text_column("job_name"),
    text_column("request_type"),
    Column("endpoint", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    text_column("user_id"),
    text_column("agent"),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("selection_mode", Text, nullable=False),
    count_column("requests"),
    count_column("calls"),
    # Of the calls: those that brought no answer.
    count_column("failed"),
    count_column("hits"),
    count_column("corrections"),
    count_column("unpriced"),
    count_column("input_tokens"),
    count_column("cached_tokens"),
    count_column("cache_write_tokens"),
    count_column("output_tokens"),
    count_column("reasoning_tokens"),
    count_column("audio_tokens"),
    # NULL = of none of its entries the cost is known.
    Column("cost_nanos", BigInteger),
    count_column("latency_ms"),
)
Index("ix_ledger_days_at_ms", ledger_days.c.at_ms)

orphans = Table(
    "orphans",
    metadata,
    # An answer whose own request is gone: it goes when no entry of the cache and no other request points to it.
    Column("answer_id", BigInteger, primary_key=True, autoincrement=False),
)
