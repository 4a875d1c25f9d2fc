"""Training data out of the database: an export to a folder, by whoever asks for it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from batchmill.settings import Settings
from batchmill.training.export import Exported, Tally, export
from batchmill.training.model import Answered, Wish
from db import marks
from db.engine import Database
from db.marks import Filter, Standing
from workers import attendance


def export_to(
    settings: Settings,
    database: Database,
    path: Path,
    wish: Wish,
    wanted: Filter,
    *,
    progress: Callable[[Tally], None] = lambda tally: None,
) -> Exported:
    """Export the answers that are marked so.

    Args:
        progress: Is called for every answer; what it raises ends the export and leaves no trace.

    Raises:
        ConflictError: Something else stands there, or another export is writing there.
        SettingsError: A library that is needed is not installed.
        OutputError: It cannot be written.
    """
    tally = Tally()

    def watched() -> Iterator[Answered]:
        for answered in marks.answered(database, wanted):
            progress(tally)
            yield answered

    path = Path(os.path.realpath(path))
    with attendance.attend(settings, path):
        return export(watched(), path, wish, tally)


def source_of(database: Database) -> dict[str, Any]:
    """What is marked at this moment: the same for as long as no mark is set, changed or taken off."""
    with database.read() as tx:
        return _source(marks.standing(tx))


def _source(standing: Standing) -> dict[str, Any]:
    return {"marks": standing.total, "newest_mark_ms": standing.newest_ms}
