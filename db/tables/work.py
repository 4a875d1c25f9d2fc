"""Tables of the work: batches, their requests, who is at them, what was answered, what it cost; in the order a request
meets them."""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, Table, Text, UniqueConstraint, text

from db.tables.base import BigId, count_column, metadata, text_column

batches = Table(
    "batches",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("public_id", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("final_state", Text, nullable=False, server_default="completed"),
    Column("lane", Text, nullable=False),
    Column("endpoint", Text, nullable=False, server_default=""),
    text_column("job_name"),
    text_column("request_type"),
    Column("tenant", Text, nullable=False),
    text_column("user_id"),
    text_column("agent"),
    # Whom its requests are meant for: the providers they name, with their addresses.
    text_column("upstream"),
    # What all its lines want of routing, as JSON.
    text_column("routing"),
    Column("cache", Text, nullable=False),
    Column("on_unknown", Text, nullable=False),
    Column("deadline_ms", BigInteger),
    text_column("paused_reason"),
    # Paused by a budget: which one, and how much the call that did not fit may cost.
    Column("waits_for_budget_id", BigInteger),
    Column("waits_for_nanos", BigInteger),
    # What becomes of its lines at the limit of a budget; "" leaves it to the budget.
    text_column("on_budget"),
    text_column("last_error"),
    # Who wants the files where: a batch of `batchmill run` is delivered by that command, on its own machine.
    Column("run_key", Text),
    Column("output_path", Text),
    Column("errors_path", Text),
    # Of one handed in over HTTP: the file it is read from, and what it owes; files go by their public names.
    text_column("input_file"),
    text_column("output_file"),
    text_column("error_file"),
    Column("window_s", BigInteger),
    Column("output_expires_s", BigInteger),
    # The producer's own, as JSON.
    text_column("metadata"),
    # The one model that all its lines ask for.
    text_column("model"),
    # What its calls came to in tokens, as JSON, once it has ended.
    text_column("usage"),
    # A single request that its caller waits for.
    Column("is_direct", Boolean, nullable=False, server_default=text("false")),
    # Whoever reads its file, or writes those it owes, holds it meanwhile.
    Column("clerk_until_ms", BigInteger, nullable=False, server_default="0"),
    text_column("clerk"),
    # How far claims have come: the requests at places up to the cursor have been claimed at least once.
    count_column("cursor"),
    # While it waited for a budget, the requests up to here were looked up in the cache, ahead of any claim.
    count_column("looked_up_to"),
    count_column("total"),
    count_column("done"),
    count_column("failed"),
    count_column("cancelled"),
    count_column("expired"),
    count_column("cached"),
    count_column("calls"),
    count_column("unknown_attempts"),
    count_column("spent_nanos"),
    count_column("unpriced"),
    Column("created_ms", BigInteger, nullable=False),
    Column("touched_ms", BigInteger, nullable=False),
    Column("started_ms", BigInteger),
    Column("finalizing_ms", BigInteger),
    Column("cancelling_ms", BigInteger),
    Column("ended_ms", BigInteger),
    # From then on its lines are removed, with all that is only theirs; and from then on none is left.
    Column("removed_ms", BigInteger),
    Column("cleared_ms", BigInteger),
    # From then on its entries in the ledger are rolled up to daily rows.
    Column("rolled_ms", BigInteger),
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
    text_column("routing"),
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
    text_column("retry_reason"),
    Column("answer_id", BigInteger),
    # Its own, where its line gives one; else its batch's counts.
    text_column("request_type"),
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
    text_column("held_on"),
    Column("cost_nanos", BigInteger),
    text_column("error"),
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
    text_column("reason"),
)

answers = Table(
    "answers",
    metadata,
    # The attempt that brought it; below zero what we ourselves say of an attempt that is unknown.
    Column("id", BigId, primary_key=True, autoincrement=False),
    Column("status_code", Integer),
    Column("body", Text),
    text_column("error_code"),
    text_column("error_message"),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    text_column("provider_request_id"),
    text_column("finish_reason"),
    Column("created_ms", BigInteger, nullable=False),
)

cache_entries = Table(
    "cache_entries",
    metadata,
    Column("cache_key", Text, primary_key=True),
    Column("answer_id", BigInteger, nullable=False),
    Column("tenant", Text, nullable=False),
    text_column("request_type"),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False, index=True),
    # The size of its answer's body, and what that had cost (NULL = not known): what it is worth is told by its row.
    count_column("answer_bytes"),
    Column("cost_nanos", BigInteger),
    # Another entry was made for the same answer.
    Column("is_shared", Boolean, nullable=False, server_default=text("false")),
    Column("last_used_ms", BigInteger),
    count_column("usage_count"),
    # What people say of this very answer: its mark's.
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
    text_column("request_type"),
    Column("endpoint", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    text_column("user_id"),
    text_column("agent"),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    count_column("input_tokens"),
    count_column("cached_tokens"),
    count_column("cache_write_tokens"),
    count_column("output_tokens"),
    count_column("reasoning_tokens"),
    count_column("audio_tokens"),
    # NULL = not known, and `cost_reason` says why; never 0 for "not known".
    Column("cost_nanos", BigInteger),
    text_column("cost_reason"),
    count_column("latency_ms"),
    Column("cache_hit", Boolean, nullable=False),
    Column("selection_mode", Text, nullable=False, server_default="manual"),
    Column("success", Boolean, nullable=False),
    text_column("error"),
    sqlite_autoincrement=True,
)
Index(
    "ix_ledger_corrections",
    ledger.c.at_ms,
    ledger.c.attempt_id,
    postgresql_where=text("kind = 'correction'"),
    sqlite_where=text("kind = 'correction'"),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
    Column("last_ended_ms", BigInteger),
)
