"""The nightly export: only where something is marked, and only where something is new."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from batchmill.errors import StoppedError
from batchmill.settings import Settings, load_settings
from batchmill.settings.schedules import JobName
from db.engine import Database
from db.tables import inputs
from tests.conformance.test_marks import ask, mark
from tests.support.clocks import FakeClock
from workers.jobs.registry import JOBS
from workers.jobs.run import JobRun

DAY_MS = 86_400_000
QUESTION = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "2 + 2?"}]})


@pytest.fixture
def wanted(database_url: str, tmp_path: Path) -> Settings:
    """Two nights are kept."""
    environ = {"DATABASE_URL": database_url, "BATCHMILL_HOME": str(tmp_path), "BATCHMILL_TRAINING_KEEP": "2"}
    return load_settings(environ, None)


def night(settings: Settings, database: Database, nth: int, **how: Any) -> dict[str, Any]:
    """One run, due at 02:30 of the nth day."""
    due_ms = nth * DAY_MS + 9_000_000
    run = JobRun(job=JobName.TRAINING_EXPORT, due_ms=due_ms, settings=settings, database=database, **how)
    return dict(JOBS[JobName.TRAINING_EXPORT].run(run))


def good(database: Database, key: str) -> None:
    """One more good answer."""
    batch = ask(database, key)
    with database.write() as tx:
        tx.run(
            update(inputs)
            .values(body=QUESTION.replace("2 + 2", f"{key} and {key}"))
            .where(inputs.c.body.like('%mini"}'))
        )
    mark(database, batch, {"custom_id": "line-1", "verified": True})


def test_nights(wanted: Settings, database: Database, clock: FakeClock) -> None:
    """Nothing marked: nothing is made. Marked: a folder of that day. Nothing new: it stays. Old ones go."""
    folder = wanted.training.folder_in(wanted.home)
    assert "nothing is marked" in night(wanted, database, 20_000)["why"]
    assert not folder.exists()
    good(database, "a")
    done = night(wanted, database, 20_001)
    assert (done["exported"], done["folder"], done["examples"]) == (True, "2024-10-05", 1)
    before = (folder / "2024-10-05" / "manifest.json").stat().st_mtime_ns
    assert night(wanted, database, 20_002) == {
        "exported": False,
        "why": "nothing is new",
        "folder": "2024-10-05",
    }
    assert (folder / "2024-10-05" / "manifest.json").stat().st_mtime_ns == before
    for nth, key in enumerate("bc", 20_003):
        clock.advance(1)
        good(database, key)
        assert night(wanted, database, nth)["exported"]
    assert sorted(path.name for path in folder.iterdir()) == ["2024-10-07", "2024-10-08"]


def test_stopped_half_way(wanted: Settings, database: Database) -> None:
    """No trace is left, and the next run makes it."""
    good(database, "a")
    folder = wanted.training.folder_in(wanted.home)
    with pytest.raises(StoppedError):
        night(wanted, database, 20_001, stopping=lambda: True)
    assert list(folder.iterdir()) == []
    assert night(wanted, database, 20_001)["exported"]
