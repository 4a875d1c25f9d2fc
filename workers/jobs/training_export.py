"""The nightly export of training data, where answers are marked for it."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from batchmill.periods import date_of, zone_of
from batchmill.training.export import decided_by
from batchmill.training.folder import MANIFEST
from batchmill.training.model import Wish
from db.marks import Filter
from workers.jobs.run import Detail, JobRun
from workers.training import export_to, source_of

_DATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def run(run: JobRun) -> Detail:
    """Export what is marked into a folder that is called by the day; where nothing is new, the last one stays."""
    settings = run.settings.training
    folder = settings.folder_in(run.settings.home)
    source = source_of(run.database)
    if not source["marks"]:
        return {"exported": False, "why": "nothing is marked: see `batchmill training mark`"}
    wish = Wish(format=settings.format, source=source)
    newest = _newest(folder)
    if newest is not None and _is_of(wish, newest):
        return {"exported": False, "why": "nothing is new", "folder": newest.name}
    day = date_of(run.due_ms, zone_of(run.settings.budgets.timezone)).isoformat()
    wanted = Filter.good(min_rating=None, verified_only=False)
    done = export_to(
        run.settings, run.database, folder / day, wish, wanted, progress=lambda tally: run.checkpoint()
    )
    return {
        "exported": done.is_new,
        "folder": day,
        "examples": done.tally.examples,
        "left_out": done.tally.left_out.total(),
        "warnings": len(done.warnings),
        "removed": _trim(folder, settings.kept),
    }


def _newest(folder: Path) -> Path | None:
    return max(_exports(folder), default=None)


def _exports(folder: Path) -> list[Path]:
    """The nightly exports; whatever else is there is not ours."""
    there = folder.iterdir() if folder.is_dir() else ()
    return [one for one in there if _DATED.fullmatch(one.name) and (one / MANIFEST).is_file()]


def _is_of(wish: Wish, export: Path) -> bool:
    """Whether an export is what this wish would come to."""
    try:
        manifest: Mapping[str, Any] = orjson.loads((export / MANIFEST).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return all(manifest.get(name) == value for name, value in decided_by(wish).items())


def _trim(folder: Path, kept: int) -> int:
    old = sorted(_exports(folder), reverse=True)[kept:]
    for one in old:
        shutil.rmtree(one, ignore_errors=True)
    return len(old)
