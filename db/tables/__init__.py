"""Every table.

Times are milliseconds since 1970 (`_ms`), money is nano-dollars (`_nanos`). States are text, so that anyone
may read them in a database shell. Rows that change often (`requests`) are kept apart from rows that are large
(`inputs`, `answers`). There are no foreign keys between the hot tables: their writers hold a claim, and
the audit (`db.audit`) checks what a key would.
"""

from db.tables.alerts import alert_deliveries, alerts
from db.tables.base import BigId, metadata, word
from db.tables.health import health_changes, health_states
from db.tables.owner import (
    budget_periods,
    budgets,
    catalogue,
    hold_factors,
    limits,
    provider_checks,
)
from db.tables.reports import installation, report_deliveries, reports
from db.tables.retained import ledger_days, orphans
from db.tables.service import api_keys, batch_faults, files, idempotency, webhooks
from db.tables.training import marks
from db.tables.upkeep import schedule_runs, schedules
from db.tables.work import (
    answers,
    attempts,
    batches,
    cache_entries,
    circuits,
    claims,
    flights,
    inputs,
    ledger,
    paths,
    requests,
    shares,
    sweeps,
    workers,
)

__all__ = [
    "BigId",
    "alert_deliveries",
    "alerts",
    "answers",
    "api_keys",
    "attempts",
    "batch_faults",
    "batches",
    "budget_periods",
    "budgets",
    "cache_entries",
    "catalogue",
    "circuits",
    "claims",
    "files",
    "flights",
    "health_changes",
    "health_states",
    "hold_factors",
    "idempotency",
    "inputs",
    "installation",
    "ledger",
    "ledger_days",
    "limits",
    "marks",
    "metadata",
    "orphans",
    "paths",
    "provider_checks",
    "report_deliveries",
    "reports",
    "requests",
    "schedule_runs",
    "schedules",
    "shares",
    "sweeps",
    "webhooks",
    "word",
    "workers",
]
