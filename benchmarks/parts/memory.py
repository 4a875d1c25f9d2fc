"""Part `memory`: the peak of each process in a batch of ordinary size, and in one twenty times as large."""

from collections.abc import Iterator, Mapping

from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.processes import Role, Watch
from benchmarks.runs import measure
from benchmarks.stage import Stage
from benchmarks.store import Store

_ROLES = (Role.LAUNCHER, Role.WORKER, Role.WORKER_PARENT)
MB = 1_000_000

TARGETS: Mapping[str, AtLeast | AtMost] = {
    f"{role}: peak of the large batch, MB": AtMost(250) for role in _ROLES
} | {f"{role}: large batch more than the ordinary one, %": AtMost(10) for role in _ROLES}


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """Both batches, unique lines, on SQLite: its pages are in these processes' own memory."""
    ordinary, large = (_watched(stage, lines) for lines in (stage.sizes.lines, stage.sizes.many_lines))
    samples: dict[str, float] = {}
    for role in _ROLES:
        before, after = ordinary.peak_bytes[role], large.peak_bytes[role]
        samples |= {
            f"{role}: peak of the ordinary batch, MB": before / MB,
            f"{role}: peak of the large batch, MB": after / MB,
            f"{role}: large batch more than the ordinary one, %": (after / before - 1) * 100,
        }
    yield Part.MEMORY, samples


def _watched(stage: Stage, lines: int) -> Watch:
    provider = stage.provider()
    with stage.home(Store.SQLITE, provider) as home:
        return measure(stage, Store.SQLITE, home, provider, stage.batch_file(lines)).watch
