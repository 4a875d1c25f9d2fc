"""What processes that work tell of themselves: workers, the service's desk, maintenance.

The first two follow OpenTelemetry's conventions for generative AI (`gen_ai.client.operation.duration`,
`gen_ai.client.token.usage`; names as OpenTelemetry's own rules translate them for Prometheus, buckets as recommended).
They are still in development there; see docs/decisions/0040-metrics.md.
"""

from typing import Final

from batchmill.metering.family import counter, gauge, histogram

_GEN_AI: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_MODEL: Final = ("provider", "model")

CALL_DURATION: Final = histogram(
    "gen_ai_client_operation_duration_seconds",
    "How long calls took, from asking for a connection to the last byte.",
    (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    *_GEN_AI,
    "error_type",
    note="`error_type` is empty for answers, else the HTTP status, or what went wrong without one",
)
CALL_TOKENS: Final = histogram(
    "gen_ai_client_token_usage",
    "Tokens of each answer, as they are billed.",
    tuple(float(4**power) for power in range(14)),
    *_GEN_AI,
    "gen_ai_token_type",
    note="`gen_ai_token_type` is `input` or `output`",
)
CALLS_IN_FLIGHT: Final = gauge("batchmill_calls_in_flight", "Calls that are out.", "provider")
REPLIES: Final = counter(
    "batchmill_replies",
    "How calls ended, and what that means for their requests.",
    *_MODEL,
    "verdict",
    "next",
    note="`verdict`: `answered`, `retry`, `throttled`, `refused`, `blocked`, `unreachable`, `unknown`; `next`: `done`,"
    " `failed`, `again`, `next_model`, `pause`",
)
SELECTIONS: Final = counter(
    "batchmill_selections",
    "Calls by how their model came to be asked.",
    "selection",
    *_MODEL,
    note="`selection`: `manual` (the request names it), `auto` (chosen from the catalogue), `fallback` (another did not"
    " answer), `cheaper` (a budget wants it)",
)
LIMIT_WAIT: Final = histogram(
    "batchmill_limit_wait_seconds",
    "How long calls waited for rate limits, those that had to.",
    (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *_MODEL,
    "limit",
    note="`limit`: `requests`, `tokens`, `input_tokens`, `output_tokens`, `concurrency`, or `told` (the provider said"
    " how long)",
)
WITHHELD: Final = counter(
    "batchmill_withheld",
    "Requests that could not be called for when it was their turn.",
    "why",
    note="`why`: `exhausted`, `tight`, `unpriced` (budgets), `full`, `too_large` (limits), `closed` (circuits),"
    " `rejected` (the line fails), `stands_still` (batch stopped, lease lost)",
)
CIRCUIT_CHANGES: Final = counter(
    "batchmill_circuit_changes",
    "How often circuits changed to a state.",
    *_MODEL,
    "state",
    note="`state`: `open`, `half_open`, `closed`",
)
CLAIM_SIZE: Final = histogram(
    "batchmill_claim_requests",
    "Requests taken by each look for work, those answered on the way included.",
    (0.0, 1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0),
    note="in the bucket `0.0`: looks that found none",
)
COMMIT_DURATION: Final = histogram(
    "batchmill_commit_duration_seconds",
    "How long the writer's transactions took: settlements, dispatches and look-ups together.",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
LOOKUPS: Final = counter(
    "batchmill_lookups",
    "Requests looked up in the cache.",
    "result",
    note="`result`: `hit`, `shared` (waits for another that asks the same), `miss`",
)
JOB_DURATION: Final = histogram(
    "batchmill_job_duration_seconds",
    "How long runs of what runs by itself took.",
    (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0),
    "job_name",
    "outcome",
    note="`outcome`: `done`, `failed`; told by `batchmill worker --maintenance`",
)
PROCESS_CPU: Final = counter("batchmill_process_cpu_seconds", "Processor time of the processes.", "role")
PROCESS_RESIDENT: Final = gauge(
    "batchmill_process_resident_bytes",
    "Memory of the processes.",
    "role",
    note="`role`: `worker`, `service`, `maintenance`; processes that make no calls and run no jobs are in neither",
)

FAMILIES: Final = (
    CALL_DURATION,
    CALL_TOKENS,
    CALLS_IN_FLIGHT,
    REPLIES,
    SELECTIONS,
    LIMIT_WAIT,
    WITHHELD,
    CIRCUIT_CHANGES,
    CLAIM_SIZE,
    COMMIT_DURATION,
    LOOKUPS,
    JOB_DURATION,
    PROCESS_CPU,
    PROCESS_RESIDENT,
)
