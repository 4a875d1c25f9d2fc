"""Views: a batch as it is shown to people and programs."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from batchmill.money.nanos import usd_text
from batchmill.requests.model import BatchState
from batchmill.routing.resting import Resting
from db import listings
from db.engine import Database
from workers.progress import failed_of, open_of
from workers.waiting import waited_for

RATE_OVER_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a batch goes.

    Attributes:
        rate_per_s: Lines answered a second, over the last minute or since the start.
        left_s: How long the rest takes at that rate; None when nothing moves.
    """

    rate_per_s: float
    left_s: float | None


def view(row: Any) -> dict[str, Any]:
    """A batch's row as JSON shows it. Times are UTC, money is exact dollars as text."""
    return {
        "id": row.public_id,
        "state": row.state,
        "lane": row.lane,
        "endpoint": row.endpoint or None,
        "job_name": row.job_name or None,
        "request_type": row.request_type or None,
        "tenant": row.tenant,
        "user": row.user_id or None,
        "agent": row.agent or None,
        "upstream": row.upstream or None,
        "total": row.total,
        "completed": row.done,
        "failed": failed_of(row),
        "cancelled": row.cancelled,
        "expired": row.expired,
        "pending": open_of(row),
        "cached": row.cached,
        "calls": row.calls,
        "unknown_attempts": row.unknown_attempts,
        "cost_usd": usd_text(row.spent_nanos),
        "unpriced": row.unpriced,
        "created_at": time_text(row.created_ms),
        "started_at": time_text(row.started_ms),
        "ended_at": time_text(row.ended_ms),
        "deadline": time_text(row.deadline_ms),
        "paused_reason": row.paused_reason if row.state == BatchState.PAUSED else None,
        "last_error": row.last_error or None,
        "output": row.output_path,
        "removed_at": time_text(row.removed_ms),
    }


def view_with_pace(database: Database, row: Any) -> dict[str, Any]:
    """The same and, while it runs, how fast: `rate_per_s` and `left_s`, and which models it waits for: `waits_for`."""
    pace = pace_of(database, row)
    shown = view(row) | (asdict(pace) if pace is not None else {"rate_per_s": None, "left_s": None})
    return shown | {"waits_for": [circuit_view(one) for one in waited_for(database, row).resting]}


def pace_of(database: Database, row: Any) -> Pace | None:
    """How fast a batch goes; None for one that does not."""
    if row.started_ms is None or row.ended_ms is not None:
        return None
    with database.read() as tx:
        since_ms = max(row.started_ms, tx.now_ms - RATE_OVER_MS)
        answered = listings.answered_since(tx, row.id, since_ms)
        rate = answered * 1000 / max(1, tx.now_ms - since_ms)
    return Pace(rate_per_s=round(rate, 3), left_s=round(open_of(row) / rate, 1) if rate else None)


def circuit_view(resting: Resting) -> dict[str, Any]:
    """A model that is left alone as JSON shows it."""
    return {
        "provider": resting.target.provider,
        "model": resting.target.model,
        "circuit": resting.state.value,
        "due": resting.is_due,
        "since": time_text(resting.since_ms),
        "until": time_text(resting.until_ms),
        "cause": resting.cause,
        "reason": resting.reason or None,
        "times": resting.times,
    }


def time_text(at_ms: int | None) -> str | None:
    """A moment as JSON shows it: `2026-11-01T09:30:00Z`; None for none."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
