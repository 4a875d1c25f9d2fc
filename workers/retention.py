"""Retention as it is set: until when what is over is kept, what goes when that time is up, and what would go now."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo

from batchmill.periods import zone_of
from batchmill.settings import Settings
from db.engine import Database
from db.retention import foreseen, old_files, orphans, removal, rolling
from db.retention.doomed import NEVER, Old
from db.retention.foreseen import Foreseen
from workers.attendance import is_attended

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Until when things go, in milliseconds since 1970; `NEVER` = they are kept for ever."""

    old: Old
    ledger_ms: int
    files_ms: int
    zone: tzinfo

    @classmethod
    def at(cls, settings: Settings, now_ms: int) -> "Kept":
        """As it is set, at that moment."""
        days = settings.retention
        return cls(
            old=Old(
                batches_ms=_before(now_ms, days.batches_days), direct_ms=_before(now_ms, days.direct_days)
            ),
            ledger_ms=_before(now_ms, days.ledger_days),
            files_ms=_before(now_ms, days.files_days),
            zone=zone_of(settings.budgets.timezone),
        )


def remove_old(
    settings: Settings, database: Database, now_ms: int, check: Callable[[], None]
) -> dict[str, int]:
    """Remove what has been kept long enough by then; how much of what.

    Args:
        check: Called between steps; what it raises ends the work there.
    """
    kept = Kept.at(settings, now_ms)
    removed = removal.remove(
        database, kept.old, is_attended=lambda row: is_attended(settings, row), check=check
    )
    deleted = orphans.delete_unpointed(database, check=check)
    rolled = rolling.RolledUp()
    if kept.ledger_ms != NEVER:
        rolled = rolling.roll_up(database, before_ms=kept.ledger_ms, zone=kept.zone, check=check)
    dropped = 0
    if kept.files_ms != NEVER:
        dropped = old_files.drop_old(database, before_ms=kept.files_ms, check=check)
    return {
        "batches": removed.batches,
        "single_requests": removed.single,
        "lines": removed.lines,
        "answers": deleted.answers,
        "answer_bytes": deleted.bytes,
        "ledger_entries": rolled.entries,
        "files": dropped,
    }


def foresee(settings: Settings, database: Database) -> Foreseen:
    """What would go now."""
    kept = Kept.at(settings, database.now_ms())
    return foreseen.foresee(
        database, kept.old, ledger_ms=kept.ledger_ms, files_ms=kept.files_ms, zone=kept.zone
    )


def _before(now_ms: int, days: int) -> int:
    return now_ms - days * DAY_MS if days else NEVER
