"""Part `quote`: what a file will cost is told, of one of ordinary size and of one twenty times as large."""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.runs import BenchmarkError
from benchmarks.stage import Home, Stage
from benchmarks.store import Store

MB = 1_000_000
KB = 1_024
RATE = "counted and priced, lines/s"
GROWTH = "largest process: large batch more than the ordinary one, %"
TARGETS: Mapping[str, AtLeast | AtMost] = {RATE: AtLeast(20_000)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """What one command used, its processes together; the largest of them for memory."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """Both files, unique lines, on an empty SQLite; the difference leaves the command's start out."""
    few, many = stage.sizes.lines, stage.sizes.many_lines
    with stage.home(Store.SQLITE, stage.provider()) as home:
        small, large = (_quoted(home, stage.batch_file(lines)) for lines in (few, many))
    lines, wall_s = many - few, max(large.wall_s - small.wall_s, 1e-3)
    yield (
        Part.QUOTE,
        {
            RATE: lines / wall_s,
            "all processes together, ms CPU a request": (large.cpu_s - small.cpu_s) * 1_000 / lines,
            "the ordinary batch from start to end, s": small.wall_s,
            "largest process: peak of the ordinary batch, MB": small.peak_bytes / MB,
            "largest process: peak of the large batch, MB": large.peak_bytes / MB,
            GROWTH: (large.peak_bytes / small.peak_bytes - 1) * 100,
        },
    )


def _quoted(home: Home, path: Path) -> _Use:
    begun = time.monotonic()
    process = home.mill.start("quote", path, "--json")
    assert process.stdout is not None
    process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchmarkError(f"the quote of {path.name} failed")
    return _Use(
        wall_s=time.monotonic() - begun,
        cpu_s=used.ru_utime + used.ru_stime,
        peak_bytes=used.ru_maxrss * KB,
    )
