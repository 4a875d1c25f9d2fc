"""Tables of what the owner sets: models, budgets, limits; and what comes of it."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from db.tables.base import BigId, count_column, metadata, text_column

catalogue = Table(
    "catalogue",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("tier", Text, nullable=False),
    # The owner's own price; all four NULL = the public list's counts.
    Column("input_nanos_per_mtok", BigInteger),
    Column("cached_input_nanos_per_mtok", BigInteger),
    Column("output_nanos_per_mtok", BigInteger),
    Column("nanos_per_request", BigInteger),
    Column("quality", Float),
    Column("latency_ms", BigInteger),
    Column("context_tokens", BigInteger),
    Column("output_cap_tokens", BigInteger),
    # Words with commas between: text,vision,tools
    text_column("capabilities"),
    # Whom to ask when it does not answer, PROVIDER/MODEL with commas between.
    text_column("fallback"),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("is_default", Boolean, nullable=False, server_default=text("false")),
    text_column("notes"),
    Column("updated_ms", BigInteger, nullable=False),
    CheckConstraint("is_active OR NOT is_default", name="default_is_active"),
)
Index(
    "ix_catalogue_default_of_tier",
    catalogue.c.tier,
    unique=True,
    postgresql_where=text("is_default"),
    sqlite_where=text("is_default"),
)

budgets = Table(
    "budgets",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("scope", Text, nullable=False),
    text_column("name"),
    # scope:name, by which calls find the budgets that cover them.
    Column("key", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("limit_nanos", BigInteger, nullable=False),
    # Percentages with commas between: 75,90,100
    Column("thresholds", Text, nullable=False),
    Column("on_limit", Text, nullable=False),
    Column("downgrade_percent", Integer, nullable=False, server_default="100"),
    Column("allows_unpriced", Boolean, nullable=False, server_default=text("false")),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    # A budget that is gone stays as a row: what was spent on it is history.
    Column("removed_ms", BigInteger),
    sqlite_autoincrement=True,
)
Index(
    "ix_budgets_in_force",
    budgets.c.key,
    budgets.c.period,
    budgets.c.origin,
    unique=True,
    postgresql_where=text("removed_ms IS NULL"),
    sqlite_where=text("removed_ms IS NULL"),
)

budget_periods = Table(
    "budget_periods",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("budget_id", BigInteger, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    # NULL = it never ends.
    Column("end_ms", BigInteger),
    # Of what was spent: what the ledger had of this period when the budget was made.
    count_column("opening_nanos"),
    # Settled calls at their cost, and unknown ones at their hold.
    count_column("spent_nanos"),
    # Calls in flight, at the most that they could cost.
    count_column("held_nanos"),
    # Of what was spent: calls of which nobody knows whether they were billed, at their hold.
    count_column("unknown_nanos"),
    # By how much calls were dearer than their hold: only that can bring it above its limit.
    count_column("overrun_nanos"),
    # Of what was spent and overrun: calls whose own rows have been removed.
    count_column("removed_nanos"),
    count_column("removed_overrun_nanos"),
    # The limit in force: its owner may change it in mid-period. Calls are held against it under this row's lock.
    Column("limit_nanos", BigInteger, nullable=False),
    # The highest limit that was in force while it has lasted.
    Column("ceiling_nanos", BigInteger, nullable=False),
    # The highest threshold, in percent, that its owner has been told of.
    Column("alerted_percent", Integer, nullable=False, server_default="0"),
    UniqueConstraint("budget_id", "start_ms"),
    CheckConstraint("held_nanos >= 0", name="nothing_held_twice"),
    sqlite_autoincrement=True,
)

hold_factors = Table(
    "hold_factors",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    # Holds of this model are so many hundredths of what they would be: calls of it were dearer than their hold.
    Column("percent", Integer, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

limits = Table(
    "limits",
    metadata,
    Column("provider", Text, primary_key=True),
    # "" = all of the provider's models together
    Column("model", Text, primary_key=True, server_default=""),
    # NULL = not set: the owner limits nothing there.
    Column("rpm", BigInteger),
    Column("tpm", BigInteger),
    Column("input_tpm", BigInteger),
    Column("output_tpm", BigInteger),
    Column("concurrency", BigInteger),
    Column("updated_ms", BigInteger, nullable=False),
)

provider_checks = Table(
    "provider_checks",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("provider", Text, nullable=False),
    # The address asked: what was found at another says nothing about this one.
    Column("upstream", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("latency_ms", BigInteger, nullable=False),
    text_column("error_code"),
    text_column("error_message"),
    sqlite_autoincrement=True,
)
Index("ix_provider_checks_provider_id", provider_checks.c.provider, provider_checks.c.id)
