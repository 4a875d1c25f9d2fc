"""The ledger: one row for every attempt, every correction and every cache hit, appended and never changed."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Insert, Select, Text, bindparam, case, func, insert, literal_column, true

from batchmill.money.usage import Usage
from batchmill.providers.base import Verdict
from batchmill.requests.model import RequestState
from batchmill.requests.work import Job, Outcome
from db.bulk import BOOL, INT, STR, bulk_insert
from db.engine import Transaction
from db.tables import batches, ledger, word

CALL, HIT, CORRECTION = "call", "hit", "correction"
IS_CORRECTION = ledger.c.kind == literal_column(f"'{CORRECTION}'", Text)
"""Written out, so that any plan knows that the index on corrections serves it."""

AUTO, MANUAL = "auto", "manual"
"""Who chose the model."""

_columns = {
    "at_ms": INT,
    "kind": STR,
    "batch_id": INT,
    "request_id": INT,
    "attempt_id": INT,
    "request_type": STR,
    "endpoint": STR,
    "tenant": STR,
    "user_id": STR,
    "agent": STR,
    "provider": STR,
    "model": STR,
    "input_tokens": INT,
    "cached_tokens": INT,
    "cache_write_tokens": INT,
    "output_tokens": INT,
    "reasoning_tokens": INT,
    "audio_tokens": INT,
    "cost_nanos": INT,
    "cost_reason": STR,
    "latency_ms": INT,
    "cache_hit": BOOL,
    "selection_mode": STR,
    "success": BOOL,
    "error": STR,
}
_append = bulk_insert(ledger, _columns)
_of_batch = ("endpoint", "tenant", "user_id", "agent")
_NO_USAGE = Usage()
_NOTHING_USED: dict[str, Any] = {
    "input_tokens": 0,
    "cached_tokens": 0,
    "cache_write_tokens": 0,
    "output_tokens": 0,
    "reasoning_tokens": 0,
    "audio_tokens": 0,
    "cost_reason": "",
    "latency_ms": 0,
    "cache_hit": False,
    "error": "",
}


def append(tx: Transaction, entries: Sequence[dict[str, Any]]) -> None:
    """Write entries made by `of_outcome`, `of_evidence` and `of_hit`."""
    tx.bulk(_append, entries)


def of_outcome(tx: Transaction, outcome: Outcome, kind: str = CALL) -> dict[str, Any]:
    """The entry for an attempt that came to its end."""
    usage = outcome.reply.usage or _NO_USAGE
    return _entry(tx, outcome.attempt.job) | {
        "kind": kind,
        "attempt_id": outcome.attempt.id,
        "provider": outcome.attempt.provider,
        "model": outcome.attempt.model,
        "input_tokens": usage.input_tokens,
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "audio_tokens": usage.audio_input_tokens + usage.audio_output_tokens,
        "cost_nanos": outcome.cost.nanos,
        "cost_reason": outcome.cost.reason,
        "latency_ms": outcome.reply.latency_ms,
        "success": outcome.reply.verdict is Verdict.ANSWERED,
        "error": outcome.reply.error_code,
    }


def of_hit(tx: Transaction, job: Job, *, provider: str, model: str, ok: bool) -> dict[str, Any]:
    """The entry for a request answered without a call; it costs nothing, which is known."""
    return _entry(tx, job) | {
        "kind": HIT,
        "provider": provider,
        "model": model,
        "cost_nanos": 0,
        "cache_hit": True,
        "success": ok,
    }


def of_evidence(tx: Transaction, attempt: Any, facts: Any, cost_nanos: int) -> dict[str, Any]:
    """The correction for a call of which somebody has found out what it cost.

    Args:
        attempt: Its row.
        facts: `id, batch_id, request_type, is_auto, endpoint, tenant, user_id, agent` of its request.
    """
    return _NOTHING_USED | {
        "at_ms": tx.now_ms,
        "kind": CORRECTION,
        "batch_id": facts.batch_id,
        "request_id": facts.id,
        "attempt_id": attempt.id,
        "request_type": facts.request_type,
        **{name: getattr(facts, name) for name in _of_batch},
        "selection_mode": AUTO if facts.is_auto else MANUAL,
        "provider": attempt.provider,
        "model": attempt.model,
        "cost_nanos": cost_nanos,
        "success": False,
    }


def enter_hits(answered: Any, source: Callable[[list[Any]], Select[Any]]) -> Insert:
    """The statement that enters requests which the database answers where they are; it takes `at_ms`.

    Args:
        answered: Columns `id, batch_id, request_type, is_auto, state, provider, model`.
        source: Selects what it is given from wherever those columns are, joined with `batches`.
    """
    values: dict[str, Any] = {
        "at_ms": bindparam("at_ms", type_=INT),
        "kind": literal_column(f"'{HIT}'"),
        "batch_id": answered.batch_id,
        "request_id": answered.id,
        "request_type": func.coalesce(func.nullif(answered.request_type, ""), batches.c.request_type),
        **{name: batches.c[name] for name in _of_batch},
        "provider": answered.provider,
        "model": answered.model,
        "cost_nanos": literal_column("0"),
        "cache_hit": true(),
        "selection_mode": case(
            (answered.is_auto, literal_column(f"'{AUTO}'")), else_=literal_column(f"'{MANUAL}'")
        ),
        "success": answered.state == word(RequestState.DONE),
    }
    return insert(ledger).from_select(list(values), source(list(values.values())))


def _entry(tx: Transaction, job: Job) -> dict[str, Any]:
    batch = job.batch
    return _NOTHING_USED | {
        "at_ms": tx.now_ms,
        "batch_id": batch.id,
        "request_id": job.request_id,
        "attempt_id": None,
        "request_type": job.request_type,
        "endpoint": batch.endpoint,
        "tenant": batch.tenant,
        "user_id": batch.user,
        "agent": batch.agent,
        "selection_mode": MANUAL if job.provider else AUTO,
    }
