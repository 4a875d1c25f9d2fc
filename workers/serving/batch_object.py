"""The batch object: a batch as clients of OpenAI's API see it, with our own fields beside theirs."""

from collections.abc import Sequence
from typing import Any

import orjson

from batchmill.money.nanos import usd_text
from batchmill.requests.model import BatchState
from db import hosted, webhooks
from db.engine import Database
from workers.progress import failed_of, open_of
from workers.serving.webhooks import shown_webhook
from workers.views import pace_of

_FIELDS = {
    BatchState.FAILED: "failed_at",
    BatchState.COMPLETED: "completed_at",
    BatchState.EXPIRED: "expired_at",
    BatchState.CANCELLED: "cancelled_at",
}


def batch_object(database: Database, row: Any) -> dict[str, Any]:
    """One batch, with how long it will take."""
    shown = batch_objects(database, [row])[0]
    pace = pace_of(database, row)
    if pace is not None and pace.left_s is not None:
        shown["eta"] = (database.now_ms() + int(pace.left_s * 1000)) // 1000
    return shown


def batch_objects(database: Database, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Many, without that."""
    with database.read() as tx:
        faults = hosted.faults(tx, [row.id for row in rows if row.state == BatchState.FAILED])
        owed = webhooks.of(tx, [row.id for row in rows])
    return [_object(row, faults.get(row.id, ()), owed.get(row.id)) for row in rows]


def _object(row: Any, faults: Sequence[Any], webhook: Any | None) -> dict[str, Any]:
    state = BatchState(row.state)
    is_cancelled = row.final_state == BatchState.CANCELLED
    ended: dict[str, int | None] = dict.fromkeys(_FIELDS.values())
    if state in _FIELDS:
        ended[_FIELDS[state]] = _seconds(row.ended_ms or row.touched_ms)
    return {
        "id": row.public_id,
        "object": "batch",
        "endpoint": row.endpoint,
        "model": row.model or None,
        "errors": _errors(row, faults) if state is BatchState.FAILED else None,
        "input_file_id": row.input_file or None,
        "completion_window": window_text(row.window_s),
        "status": _status(row, state).value,
        "output_file_id": row.output_file or None,
        "error_file_id": row.error_file or None,
        "created_at": _seconds(row.created_ms),
        "in_progress_at": _seconds(row.started_ms),
        "expires_at": _seconds(row.deadline_ms),
        "finalizing_at": _seconds(row.finalizing_ms),
        "cancelling_at": _seconds(row.cancelling_ms) if is_cancelled else None,
        **ended,
        "request_counts": {"total": row.total, "completed": row.done, "failed": failed_of(row)},
        "metadata": orjson.loads(row.metadata) if row.metadata else None,
        "usage": orjson.loads(row.usage) if row.usage else None,
        **_ours(row, state),
        "webhook": None if webhook is None else shown_webhook(webhook),
    }


def _status(row: Any, state: BatchState) -> BatchState:
    """The state by the one of OpenAI's words that its clients expect there: what is cancelled is `cancelling` until all
    of it is done, what expires never is."""
    if state is BatchState.PAUSED:
        return BatchState.IN_PROGRESS
    if state is BatchState.FINALIZING and row.final_state == BatchState.CANCELLED:
        return BatchState.CANCELLING
    if state is BatchState.CANCELLING and row.final_state == BatchState.EXPIRED:
        return BatchState.VALIDATING if row.started_ms is None else BatchState.IN_PROGRESS
    return state


def _ours(row: Any, state: BatchState) -> dict[str, Any]:
    """What OpenAI's batches do not tell."""
    return {
        "cost_usd": usd_text(row.spent_nanos),
        "cost_unknown": row.unpriced,
        "progress": round(1 - open_of(row) / row.total, 4) if row.total else 0.0,
        "eta": None,
        "paused_reason": row.paused_reason if state is BatchState.PAUSED else None,
        "unknown_attempts": row.unknown_attempts,
        "cached": row.cached,
        "calls": row.calls,
        "priority": row.lane,
        "job_name": row.job_name or None,
        "request_type": row.request_type or None,
        "user": row.user_id or None,
        "last_error": row.last_error or None,
        "removed_at": _seconds(row.removed_ms),
    }


def _errors(row: Any, faults: Sequence[Any]) -> dict[str, Any]:
    told = [
        {"code": fault.code, "message": fault.message, "param": fault.param, "line": fault.line}
        for fault in faults
    ]
    if not told:
        told = [{"code": "invalid_input", "message": row.last_error, "param": None, "line": None}]
    return {"object": "list", "data": told}


def window_text(window_s: int | None) -> str:
    """A completion window as it is written: `24h`, or `7d` where that is a whole number of days from two on."""
    if window_s is None:
        return "24h"
    hours = window_s // 3600
    return f"{hours // 24}d" if hours % 24 == 0 and hours > 24 else f"{hours}h"


def usage_text(tokens: Any) -> str:
    """What calls came to, in OpenAI's words, as JSON.

    Args:
        tokens: A row of input, cached, output and reasoning tokens.
    """
    told = {
        "input_tokens": tokens.input_tokens,
        "input_tokens_details": {"cached_tokens": tokens.cached_tokens},
        "output_tokens": tokens.output_tokens,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning_tokens},
        "total_tokens": tokens.input_tokens + tokens.output_tokens,
    }
    return orjson.dumps({name: _whole(value) for name, value in told.items()}).decode()


def _whole(value: Any) -> Any:
    """PostgreSQL adds whole numbers up to a Decimal."""
    return {name: int(n) for name, n in value.items()} if isinstance(value, dict) else int(value)


def _seconds(at_ms: int | None) -> int | None:
    return None if at_ms is None else at_ms // 1000
