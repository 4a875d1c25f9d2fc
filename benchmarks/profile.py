"""The profile: where the worker's CPU time goes in a batch of unique lines."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, Part
from benchmarks.runs import measure
from benchmarks.stage import Stage, Store

SAMPLING = Path(__file__).parent / "sampling"
ROWS = 15
_LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Shares of the worker's CPU time, the largest first.

    Attributes:
        rooms: By whose code was running.
        functions: By the innermost function of ours that was at work, with all it called.
    """

    store: Store
    rooms: tuple[tuple[str, float], ...]
    functions: tuple[tuple[str, float], ...]


def explain(stage: Stage, figures: Sequence[Figure]) -> list[Profile]:
    """A profile of each database on which answering missed a target."""
    missed = [
        figure for figure in figures if figure.part in (Part.UNIQUE, Part.CACHED) and figure.is_met is False
    ]
    return [take(stage, store) for store in Store if any(figure.name.startswith(store) for figure in missed)]


def take(stage: Stage, store: Store) -> Profile:
    """Run a batch with a sampling worker; sampling itself costs it about two per cent."""
    folder = stage.folder / f"profile-{store.name.lower()}"
    folder.mkdir()
    provider = stage.provider()
    with stage.home(store, provider) as home:
        home.mill.environ |= {"PYTHONPATH": str(SAMPLING), "BENCHMARK_PROFILE": str(folder)}
        measure(stage, store, home, provider, stage.batch_file(stage.sizes.lines))
    rooms: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for path in folder.glob("*.json"):
        sampled = json.loads(path.read_text())
        rooms.update(sampled["rooms"])
        functions.update(sampled["functions"])
    return Profile(store=store, rooms=_shares(rooms), functions=_shares(functions))


def _shares(used: Counter[str]) -> tuple[tuple[str, float], ...]:
    whole = used.total() or 1.0
    return tuple((name, s / whole) for name, s in used.most_common(ROWS) if s / whole >= _LEAST_SHARE)
