"""Profiles: where the CPU time goes that a missed target would want back."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, Part
from benchmarks.parts.intake import take_in
from benchmarks.runs import measure
from benchmarks.stage import Home, Stage
from benchmarks.store import Store

SAMPLING = Path(__file__).parent / "sampling"
ROWS = 12
LEAST_SHARE = 0.01

WORDS: Mapping[Part, str] = {
    Part.UNIQUE: "the worker, unique lines",
    Part.CACHED: "the worker, cached lines",
    Part.INGEST: "the launcher, ingest",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Shares of one process's CPU time.

    Attributes:
        tables: By thread, by whose code was running, and by the innermost function of ours that was at work, with all
            it called; the largest share first.
    """

    part: Part
    store: Store
    tables: Mapping[str, Mapping[str, float]]

    @property
    def title(self) -> str:
        """Of which process, doing what, on which database."""
        return f"{WORDS[self.part][0].upper()}{WORDS[self.part][1:]}, {self.store}"


def explain(stage: Stage, figures: Sequence[Figure]) -> list[Profile]:
    """A profile for every part and database that missed a target of speed."""
    missed = [figure for figure in figures if figure.is_met is False]
    return [
        take(stage, part, store)
        for part in WORDS
        for store in Store
        if any(figure.part is part and figure.name.startswith(store) for figure in missed)
    ]


def take(stage: Stage, part: Part, store: Store) -> Profile:
    """Do it once more with the process sampled, which costs that about two per cent."""
    folder = stage.folder / f"profile-{part}-{store.name.lower()}"
    folder.mkdir()
    provider, path = stage.provider(), stage.batch_file(stage.sizes.lines)
    with stage.home(store, provider) as home:
        if part is Part.CACHED:
            measure(stage, store, home, provider, path)
        _sample(home, folder, "run" if part is Part.INGEST else "worker")
        if part is Part.INGEST:
            take_in(stage, home)
        else:
            measure(stage, store, home, provider, path)
    sums: dict[str, Counter[str]] = {}
    for written in folder.glob("*.json"):
        for table, used in json.loads(written.read_text()).items():
            sums.setdefault(table, Counter()).update(used)
    return Profile(part=part, store=store, tables={table: _shares(used) for table, used in sums.items()})


def _sample(home: Home, folder: Path, process: str) -> None:
    home.mill.environ |= {
        "PYTHONPATH": str(SAMPLING),
        "BENCHMARK_PROFILE": str(folder),
        "BENCHMARK_PROFILED": process,
    }


def _shares(used: Counter[str]) -> dict[str, float]:
    whole = used.total() or 1.0
    return {name: s / whole for name, s in used.most_common(ROWS) if s / whole >= LEAST_SHARE}
