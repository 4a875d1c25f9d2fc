"""What the service tells at `/metrics` beside what processes count of themselves: of HTTP, and of the whole mill."""

from typing import Final

from batchmill.metering.family import counter, gauge, histogram

BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_MODEL: Final = ("provider", "model")
_BUDGET: Final = ("scope", "name", "period")

HTTP_REQUESTS: Final = counter(
    "batchmill_http_requests",
    "Requests over HTTP by the route that answered them.",
    "method",
    "route",
    "status",
    note="`route` is the template, `/v1/files/{file_id}`; `(none)` where there is no such route, or who called was not"
    " let in; `status` is `none` where the caller left before the answer",
)
HTTP_DURATION: Final = histogram(
    "batchmill_http_request_duration_seconds",
    "From the first byte of a request until its answer began.",
    BUCKETS_S,
    "method",
    "route",
)
OF_HTTP: Final = (HTTP_REQUESTS, HTTP_DURATION)

DATABASE_UP: Final = gauge(
    "batchmill_database_up",
    "Whether the database could be read.",
    note="0: all the others of this table are left out",
)
SPENT: Final = counter("batchmill_spend_usd", "Known to be spent.", *_MODEL)
SPENT_TODAY: Final = gauge(
    "batchmill_spend_today_usd", "Known to be spent since midnight in BATCHMILL_TIMEZONE.", *_MODEL
)
SAVED: Final = counter(
    "batchmill_saved_usd", "What answers from the cache had cost when they were first given.", *_MODEL
)
CALLS: Final = counter(
    "batchmill_calls",
    "Calls to providers that came to their end.",
    *_MODEL,
    "outcome",
    note="`outcome`: `answered`, `failed`",
)
HITS: Final = counter("batchmill_cache_hits", "Requests answered without a call.", *_MODEL)
TOKENS: Final = counter(
    "batchmill_tokens", "Tokens of these calls.", *_MODEL, "direction", note="`direction`: `input`, `output`"
)
BUDGET_LIMIT: Final = gauge("batchmill_budget_limit_usd", "The limit of each budget.", *_BUDGET)
BUDGET_SPENT: Final = gauge("batchmill_budget_spent_usd", "What is spent of it in this period.", *_BUDGET)
BUDGET_HELD: Final = gauge("batchmill_budget_held_usd", "What calls that are out may cost of it.", *_BUDGET)
BUDGET_USED: Final = gauge(
    "batchmill_budget_used_ratio",
    "The part of it that is spent.",
    *_BUDGET,
    note="1 = all; `name` is as its owner gave it, empty for the global ones. Budgets of single batches and users are"
    " left out, and of more than 100 the least used",
)
BATCHES: Final = gauge("batchmill_batches", "Batches that have not ended.", "lane", "state")
PENDING: Final = gauge(
    "batchmill_requests_pending", "Requests without an answer that nobody is asked right now.", "lane"
)
IN_FLIGHT: Final = gauge("batchmill_requests_in_flight", "Requests whose call is out.", "lane")
QUEUE_AGE: Final = gauge(
    "batchmill_queue_age_seconds",
    "How long the oldest request has waited that could be taken up now.",
    "lane",
    note="of a batch's lines that were never taken up: since the batch began; 0 where none waits",
)
QUEUE_UNSERVED: Final = gauge(
    "batchmill_queue_unserved_seconds",
    "The same, where nobody is at work on anything of the same lane and tenant.",
    "lane",
)
HEALTH: Final = gauge(
    "batchmill_health_level",
    "How each component was when it was last checked: 0 ok, 1 degraded, 2 failing.",
    "component",
    note="what `batchmill health` shows: `database`, `broker`, `beat`, `provider:openai`, `disk:a-host`",
)
WORKERS: Final = gauge(
    "batchmill_workers",
    "Workers: alive and dead in the service's home; elsewhere those on the list.",
    "state",
    note="`state`: `alive`, `dead`, `elsewhere`",
)
CIRCUIT_STATE: Final = gauge(
    "batchmill_circuit_state",
    "0 closed, 1 one call is tried, 2 open: the model is left alone.",
    *_MODEL,
    note="only of models that have failed lately",
)
UNKNOWN: Final = gauge("batchmill_attempts_unknown", "Calls of which nobody knows whether they were billed.")
CLAIMS_LOST: Final = gauge("batchmill_claims_lost", "Claims of lost workers not taken back.")
SWEEP_AGE: Final = gauge("batchmill_sweep_age_seconds", "Since the last sweep ended.")
JOB_DONE: Final = gauge(
    "batchmill_job_last_success_timestamp_seconds", "When what runs by itself was last done.", "job_name"
)
JOB_SINCE: Final = gauge(
    "batchmill_job_since_timestamp_seconds",
    "Since when it is known, and due at its times.",
    "job_name",
    note="for alerts on what was never done: there is no last time then",
)
JOB_FAILING: Final = gauge(
    "batchmill_job_failing", "1 where its last run has failed, and was not made up for.", "job_name"
)
CACHE_ENTRIES: Final = gauge("batchmill_cache_entries", "Entries of the result cache.")
CACHE_BYTES: Final = gauge(
    "batchmill_cache_bytes",
    "The size of the answers that they point to.",
    note="as the last clean-up has left it",
)
FILES: Final = gauge("batchmill_files", "Files that are kept.")
FILES_BYTES: Final = gauge("batchmill_files_bytes", "What they take together.")
WEBHOOKS: Final = gauge("batchmill_webhooks_pending", "Webhooks that are still to be delivered.")
DISK_FREE: Final = gauge(
    "batchmill_disk_free_bytes",
    "What is free where the service keeps things.",
    "folder",
    note="`folder`: `home`, `files`, where that is a folder",
)
DISK_SIZE: Final = gauge("batchmill_disk_size_bytes", "How large that is.", "folder")

OF_THE_MILL: Final = (
    DATABASE_UP,
    SPENT,
    SPENT_TODAY,
    SAVED,
    CALLS,
    HITS,
    TOKENS,
    BUDGET_LIMIT,
    BUDGET_SPENT,
    BUDGET_HELD,
    BUDGET_USED,
    BATCHES,
    PENDING,
    IN_FLIGHT,
    QUEUE_AGE,
    QUEUE_UNSERVED,
    HEALTH,
    WORKERS,
    CIRCUIT_STATE,
    UNKNOWN,
    CLAIMS_LOST,
    SWEEP_AGE,
    JOB_DONE,
    JOB_SINCE,
    JOB_FAILING,
    CACHE_ENTRIES,
    CACHE_BYTES,
    FILES,
    FILES_BYTES,
    WEBHOOKS,
    DISK_FREE,
    DISK_SIZE,
)
