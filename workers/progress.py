"""Progress: how far a batch has come, for whoever watches."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come.

    Attributes:
        phase: `reading` (then `completed` counts lines taken in), `answering`, `paused`, `stopping` or
            `writing`.
        expired: The part of the failed that was not asked before the deadline.
        spent_nanos: What it has cost as far as that is known.
        unpriced: Answers whose cost is not known.
        note: Why it does not go on, if it does not; "" otherwise.
    """

    phase: str
    total: int = 0
    completed: int = 0
    failed: int = 0
    expired: int = 0
    cached: int = 0
    calls: int = 0
    unknown_attempts: int = 0
    spent_nanos: int = 0
    unpriced: int = 0
    note: str = ""


def failed_of(row: Any) -> int:
    """How many lines of a batch have ended without an answer, by its row."""
    return int(row.failed + row.cancelled + row.expired)


def open_of(row: Any) -> int:
    """How many have not ended yet."""
    return int(row.total - row.done - failed_of(row))


def progress_of(row: Any, phase: str, note: str = "") -> Progress:
    """How far a batch has come, from its row."""
    return Progress(
        phase=phase,
        total=row.total,
        completed=row.done,
        failed=failed_of(row),
        expired=row.expired,
        cached=row.cached,
        calls=row.calls,
        unknown_attempts=row.unknown_attempts,
        spent_nanos=row.spent_nanos,
        unpriced=row.unpriced,
        note=note,
    )
