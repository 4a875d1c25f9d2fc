"""Part `ingest`: a large file is checked and stored."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.runs import PATIENCE_S, BenchmarkError, newest_batch, start
from benchmarks.stage import Home, Stage
from benchmarks.store import Store

TARGETS: Mapping[str, AtLeast | AtMost] = {
    f"{store}: checked and stored, lines/s": AtLeast(30_000) for store in Store
}


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """One round on each database."""
    for store in stage.sizes.stores:
        with stage.home(store, stage.provider()) as home:
            begun = time.monotonic()
            batch = take_in(stage, home)
            until_started_s = time.monotonic() - begun
            ingest_s = (batch.started_ms - batch.created_ms) / 1000
            yield (
                Part.INGEST,
                {
                    f"{store}: checked and stored, lines/s": batch.total / ingest_s,
                    f"{store}: from the command's start until the batch starts, s": until_started_s,
                },
            )


def take_in(stage: Stage, home: Home) -> Any:
    """Start the command on a large file and kill it once its batch has started; the batch."""
    process = start(home, stage.batch_file(stage.sizes.ingest_lines))
    try:
        return _wait_until_started(home)
    finally:
        home.mill.kill_everything()
        process.wait()


def _wait_until_started(home: Home) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        batch = newest_batch(home.database)
        if batch is not None and batch.started_ms is not None:
            return batch
        time.sleep(0.1)
    raise BenchmarkError("the file was not taken in")
