"""Every table, in the order a request meets them.

Times are milliseconds since 1970 (`_ms`), money is nano-dollars (`_nanos`). States are text, so that anyone
may read them in a database shell. Rows that change often (`requests`) are kept apart from rows that are large
(`inputs`, `answers`). There are no foreign keys between the hot tables: their writers hold a claim, and
the audit (`db.audit`) checks what a key would.
"""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

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


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


batches = Table(
    "batches",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("public_id", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("final_state", Text, nullable=False, server_default="completed"),
    Column("lane", Text, nullable=False),
    Column("endpoint", Text, nullable=False, server_default=""),
    _text("job_name"),
    _text("request_type"),
    Column("tenant", Text, nullable=False),
    _text("user_id"),
    _text("agent"),
    # Whom its requests are meant for: the providers they name, with their addresses.
    _text("upstream"),
    # What all its lines want of routing, as JSON.
    _text("routing"),
    Column("cache", Text, nullable=False),
    Column("on_unknown", Text, nullable=False),
    Column("deadline_ms", BigInteger),
    _text("paused_reason"),
    # Paused by a budget: which one, and how much the call that did not fit may cost.
    Column("waits_for_budget_id", BigInteger),
    Column("waits_for_nanos", BigInteger),
    # What becomes of its lines at the limit of a budget; "" leaves it to the budget.
    _text("on_budget"),
    _text("last_error"),
    # Who wants the files where: a batch of `batchmill run` is delivered by that command, on its own machine.
    Column("run_key", Text),
    Column("output_path", Text),
    Column("errors_path", Text),
    # Of one handed in over HTTP: the file it is read from, and what it owes; files go by their public names.
    _text("input_file"),
    _text("output_file"),
    _text("error_file"),
    Column("window_s", BigInteger),
    Column("output_expires_s", BigInteger),
    # The producer's own, as JSON.
    _text("metadata"),
    # The one model that all its lines ask for.
    _text("model"),
    # What its calls came to in tokens, as JSON, once it has ended.
    _text("usage"),
    # A single request that its caller waits for.
    Column("is_direct", Boolean, nullable=False, server_default=text("false")),
    # Whoever reads its file, or writes those it owes, holds it meanwhile.
    Column("clerk_until_ms", BigInteger, nullable=False, server_default="0"),
    _text("clerk"),
    # How far claims have come: the requests at places up to the cursor have been claimed at least once.
    _count("cursor"),
    # While it waited for a budget, the requests up to here were looked up in the cache, ahead of any claim.
    _count("looked_up_to"),
    _count("total"),
    _count("done"),
    _count("failed"),
    _count("cancelled"),
    _count("expired"),
    _count("cached"),
    _count("calls"),
    _count("unknown_attempts"),
    _count("spent_nanos"),
    _count("unpriced"),
    Column("created_ms", BigInteger, nullable=False),
    Column("touched_ms", BigInteger, nullable=False),
    Column("started_ms", BigInteger),
    Column("finalizing_ms", BigInteger),
    Column("cancelling_ms", BigInteger),
    Column("ended_ms", BigInteger),
    sqlite_autoincrement=True,
)
Index(
    "ix_batches_open",
    batches.c.state,
    postgresql_where=text("ended_ms IS NULL"),
    sqlite_where=text("ended_ms IS NULL"),
)
Index("ix_batches_output_path", batches.c.output_path)
Index(
    "ix_batches_of_tenant",
    batches.c.tenant,
    batches.c.id,
    postgresql_where=text("NOT is_direct"),
    sqlite_where=text("NOT is_direct"),
)

batch_faults = Table(
    "batch_faults",
    metadata,
    # What was wrong with the file of a batch handed in over HTTP, in the order in which it was found.
    Column("batch_id", BigInteger, primary_key=True, autoincrement=False),
    Column("nth", Integer, primary_key=True, autoincrement=False),
    # NULL = the file as a whole.
    Column("line", BigInteger),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("param", Text),
)

files = Table(
    "files",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("public_id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("filename", Text, nullable=False),
    # uploading: somebody writes it, or was killed while doing so · processed: whole, and never changed again ·
    # deleted: gone for everyone, and still to be removed from the store
    Column("state", Text, nullable=False),
    _count("bytes"),
    _text("sha256"),
    Column("created_ms", BigInteger, nullable=False),
    Column("touched_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    sqlite_autoincrement=True,
)
Index("ix_files_tenant_id", files.c.tenant, files.c.id)
Index(
    "ix_files_unfinished",
    files.c.state,
    postgresql_where=text("state <> 'processed'"),
    sqlite_where=text("state <> 'processed'"),
)
Index(
    "ix_files_expires_ms",
    files.c.expires_ms,
    postgresql_where=text("expires_ms IS NOT NULL"),
    sqlite_where=text("expires_ms IS NOT NULL"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    # What the key begins with, and what it is called by; the key itself is kept nowhere.
    Column("public_id", Text, nullable=False, unique=True),
    _text("name"),
    Column("tenant", Text, nullable=False),
    # producer or admin
    Column("scope", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("last_used_ms", BigInteger),
    sqlite_autoincrement=True,
)

idempotency = Table(
    "idempotency",
    metadata,
    # What came of a request that may be sent twice, by the name its sender gave it.
    Column("tenant", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    # Of what was sent: the same name for something else is a mistake.
    Column("fingerprint", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False, index=True),
)

webhooks = Table(
    "webhooks",
    metadata,
    # What a batch owes its producer: to be told how it ended.
    Column("batch_id", BigInteger, primary_key=True, autoincrement=False),
    Column("url", Text, nullable=False),
    # waiting: the batch goes on · pending · sent · given_up
    Column("state", Text, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    # When its batch ended.
    Column("due_ms", BigInteger),
    Column("next_try_ms", BigInteger, nullable=False, server_default="0"),
    Column("lease_until_ms", BigInteger, nullable=False, server_default="0"),
    Column("sent_ms", BigInteger),
    _text("error"),
)
Index(
    "ix_webhooks_pending",
    webhooks.c.next_try_ms,
    postgresql_where=text("state = 'pending'"),
    sqlite_where=text("state = 'pending'"),
)

inputs = Table(
    "inputs",
    metadata,
    Column("request_id", BigId, primary_key=True, autoincrement=False),
    Column("batch_id", BigInteger, nullable=False),
    Column("line", BigInteger, nullable=False),
    Column("custom_id", Text, nullable=False),
    # Who is asked; "" where the choice of model is left to us.
    Column("provider", Text, nullable=False, server_default="openai"),
    Column("model", Text, nullable=False),
    Column("body", Text, nullable=False),
    # What this line wants of routing, as JSON; "" = what its batch wants.
    _text("routing"),
)

requests = Table(
    "requests",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=False),
    Column("batch_id", BigInteger, nullable=False),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("claim_id", BigInteger),
    Column("cache_key", Text),
    # Set on pending requests that were claimed before; fresh ones are found by the batch's cursor.
    Column("next_run_ms", BigInteger),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("throttles", Integer, nullable=False, server_default="0"),
    _text("retry_reason"),
    Column("answer_id", BigInteger),
    # Its own, where its line gives one; else its batch's counts.
    _text("request_type"),
    # Whether the choice of model is left to us.
    Column("is_auto", Boolean, nullable=False, server_default=text("false")),
    postgresql_with={"fillfactor": "70"},
)
Index(
    "ix_requests_due",
    requests.c.batch_id,
    requests.c.next_run_ms,
    postgresql_where=text("next_run_ms IS NOT NULL"),
    sqlite_where=text("next_run_ms IS NOT NULL"),
)
Index(
    "ix_requests_waiting",
    requests.c.cache_key,
    requests.c.id,
    postgresql_where=text("state = 'waiting'"),
    sqlite_where=text("state = 'waiting'"),
)

shares = Table(
    "shares",
    metadata,
    Column("lane", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("pass", BigInteger, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("home", Text, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
)

claims = Table(
    "claims",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("worker_id", Text, nullable=False),
    Column("batch_id", BigInteger, nullable=False),
    Column("request_ids", Text, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
    # Ids are fences: one is never given out twice, also after its row is gone.
    sqlite_autoincrement=True,
)

flights = Table(
    "flights",
    metadata,
    Column("cache_key", Text, primary_key=True),
    Column("request_id", BigInteger, nullable=False),
    Column("followers", Integer, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("request_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("claim_id", BigInteger, nullable=False),
    Column("worker_id", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("sent_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    # The most it could cost, and the periods of budgets that it is held on, as `,3,7,`; "" = none covers it.
    Column("hold_nanos", BigInteger),
    _text("held_on"),
    Column("cost_nanos", BigInteger),
    _text("error"),
    UniqueConstraint("request_id", "number"),
    sqlite_autoincrement=True,
)
Index(
    "ix_attempts_unknown",
    attempts.c.request_id,
    postgresql_where=text("state = 'unknown'"),
    sqlite_where=text("state = 'unknown'"),
)

paths = Table(
    "paths",
    metadata,
    # Whom a request was to go to, whom it went to and why, where that is not simply whom it asked for.
    Column("request_id", BigId, primary_key=True, autoincrement=False),
    Column("steps", Text, nullable=False),
)

circuits = Table(
    "circuits",
    metadata,
    # The breaker of one model of one provider; without a row it is closed.
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("opened_times", Integer, nullable=False),
    Column("open_until_ms", BigInteger, nullable=False),
    Column("probe_until_ms", BigInteger, nullable=False),
    # Calls that were sent before say nothing any more.
    Column("counts_from_ms", BigInteger, nullable=False),
    Column("cause", Text),
    _text("reason"),
)

answers = Table(
    "answers",
    metadata,
    # The attempt that brought it; below zero what we ourselves say of an attempt that is unknown.
    Column("id", BigId, primary_key=True, autoincrement=False),
    Column("status_code", Integer),
    Column("body", Text),
    _text("error_code"),
    _text("error_message"),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    _text("provider_request_id"),
    _text("finish_reason"),
    Column("created_ms", BigInteger, nullable=False),
)

cache_entries = Table(
    "cache_entries",
    metadata,
    Column("cache_key", Text, primary_key=True),
    Column("answer_id", BigInteger, nullable=False),
    Column("tenant", Text, nullable=False),
    _text("request_type"),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False, index=True),
    Column("last_used_ms", BigInteger),
    _count("usage_count"),
    Column("quality", Float),
    Column("rating", Float),
    Column("verified", Boolean, nullable=False, server_default=text("false")),
)

ledger = Table(
    "ledger",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False, index=True),
    # call: an attempt came to its end · hit: answered without a call · correction: late evidence on an
    # unknown attempt
    Column("kind", Text, nullable=False),
    Column("batch_id", BigInteger, nullable=False),
    Column("request_id", BigInteger, nullable=False),
    Column("attempt_id", BigInteger),
    _text("request_type"),
    Column("endpoint", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    _text("user_id"),
    _text("agent"),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    _count("input_tokens"),
    _count("cached_tokens"),
    _count("cache_write_tokens"),
    _count("output_tokens"),
    _count("reasoning_tokens"),
    _count("audio_tokens"),
    # NULL = not known, and `cost_reason` says why; never 0 for "not known".
    Column("cost_nanos", BigInteger),
    _text("cost_reason"),
    _count("latency_ms"),
    Column("cache_hit", Boolean, nullable=False),
    Column("selection_mode", Text, nullable=False, server_default="manual"),
    Column("success", Boolean, nullable=False),
    _text("error"),
    sqlite_autoincrement=True,
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
    Column("last_ended_ms", BigInteger),
)

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
    _text("capabilities"),
    # Whom to ask when it does not answer, PROVIDER/MODEL with commas between.
    _text("fallback"),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("is_default", Boolean, nullable=False, server_default=text("false")),
    _text("notes"),
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
    _text("name"),
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
    _count("opening_nanos"),
    # Settled calls at their cost, and unknown ones at their hold.
    _count("spent_nanos"),
    # Calls in flight, at the most that they could cost.
    _count("held_nanos"),
    # Of what was spent: calls of which nobody knows whether they were billed, at their hold.
    _count("unknown_nanos"),
    # By how much calls were dearer than their hold: only that can bring it above its limit.
    _count("overrun_nanos"),
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

budget_alerts = Table(
    "budget_alerts",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("period_id", BigInteger, nullable=False),
    # threshold: so many percent are used, `detail` says how many · overrun: a call of the model in `detail` cost
    # more than was held for it
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("spent_nanos", BigInteger, nullable=False),
    Column("limit_nanos", BigInteger, nullable=False),
    UniqueConstraint("period_id", "kind", "detail"),
    sqlite_autoincrement=True,
)
Index("ix_budget_alerts_at_ms", budget_alerts.c.at_ms)

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
    _text("error"),
)
Index(
    "ix_alert_deliveries_pending",
    alert_deliveries.c.channel,
    alert_deliveries.c.next_try_ms,
    postgresql_where=text("state = 'pending'"),
    sqlite_where=text("state = 'pending'"),
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
    _text("error_code"),
    _text("error_message"),
    sqlite_autoincrement=True,
)
Index("ix_provider_checks_provider_id", provider_checks.c.provider, provider_checks.c.id)
