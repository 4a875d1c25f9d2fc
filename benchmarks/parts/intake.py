"""Part `ingest`: a large file is checked and stored."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.runs import PATIENCE_S, BenchmarkError, newest_batch, start
from benchmarks.stage import Home, Stage, Store

TARGETS: Mapping[str, AtLeast | AtMost] = {
    f"{store}: checked and stored, lines/s": AtLeast(30_000) for store in Store
}


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """One round on each database: the command is killed once its batch has started."""
    provider = stage.provider()
    path = stage.batch_file(stage.sizes.ingest_lines)
    for store in Store:
        with stage.home(store, provider) as home:
            begun = time.monotonic()
            process = start(home, path)
            batch = _wait_until_started(home)
            until_started_s = time.monotonic() - begun
            home.mill.kill_everything()
            process.wait()
            ingest_s = (batch.started_ms - batch.created_ms) / 1000
            yield (
                Part.INGEST,
                {
                    f"{store}: checked and stored, lines/s": batch.total / ingest_s,
                    f"{store}: from the command's start until the batch starts, s": until_started_s,
                },
            )


def _wait_until_started(home: Home) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        batch = newest_batch(home.database)
        if batch is not None and batch.started_ms is not None:
            return batch
        time.sleep(0.1)
    raise BenchmarkError("the file was not taken in")
