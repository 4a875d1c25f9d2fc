"""Part `cleanup`: a large cache is cleaned up, while a worker in another process claims and answers."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median, quantiles

from batchmill.cache.room import Room
from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.old_cache import fill, live_keys
from benchmarks.processes import forget_peak, peak_bytes, resident_bytes
from benchmarks.runs import BenchmarkError
from benchmarks.stage import Stage
from benchmarks.store import Store
from db.engine import Database
from tests.support.hands import Worker, add_batch
from tests.support.replies import ANSWERED
from workers.cache_upkeep import CleanUp, clean_up

MB = 1_000_000
KEPT = 0.5
"""Of all entries, the room that the clean-up is given."""
CLAIM = 64
LINES = 2_000
"""Of each batch of the worker beside it; half of them ask what the cache knows."""
CALL_S = 0.02
"""As long as a quick provider takes."""
WARM_UP_CLAIMS = 5

TARGETS: Mapping[str, AtLeast | AtMost] = {
    name.format(store): AtMost(most)
    for store in Store
    for name, most in (
        ("{}: longest step, ms", 500),
        ("{}: memory rises by, MB", 100),
        ("{}: p99 of a claim meanwhile, ms", 100),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What a process that cleans up tells of it."""

    done: CleanUp
    took_s: float
    grown_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """When a claim began, by the monotonic clock, and how long it took."""

    at_s: float
    took_ms: float


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """Once on each database."""
    for store in stage.sizes.stores:
        with stage.home(store, stage.provider()) as home:
            fill(home.database, stage.sizes.cache_entries)
            home.database.close()
            yield Part.CLEANUP, _measured(stage, store, home.database.url)


def _measured(stage: Stage, store: Store, url: str) -> Samples:
    most = int(stage.sizes.cache_entries * KEPT)
    with _beside(_work, url) as worker:
        worker.recv()
        time.sleep(stage.sizes.undisturbed_s)
        with _beside(_clean, url, most) as cleaner:
            begun_s = time.monotonic()
            cleaned: Cleaned = cleaner.recv()
        worker.send(None)
        claims: list[Claim] = worker.recv()
    if cleaned.done.left.entries > most:
        raise BenchmarkError(f"{cleaned.done.left.entries} entries are left, {most} were to be")
    alone = [claim.took_ms for claim in claims[1:] if claim.at_s < begun_s]  # the first finds everything cold
    beside = [claim.took_ms for claim in claims if begun_s <= claim.at_s < begun_s + cleaned.took_s]
    samples = {
        "whole clean-up, s": cleaned.took_s,
        "longest step, ms": cleaned.done.longest_step_s * 1_000,
        "memory rises by, MB": cleaned.grown_bytes / MB,
        "a claim without it, ms": median(alone),
        "p99 of a claim without it, ms": _p99(alone),
        "a claim meanwhile, ms": median(beside),
        "p99 of a claim meanwhile, ms": _p99(beside),
    }
    return {f"{store}: {name}": value for name, value in samples.items()}


def _p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[-1]


@contextmanager
def _beside(do: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """A process of its own, for as long as the context lasts, and the way to talk with it."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=do, args=(theirs, *arguments))
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(10)
        process.kill()
        process.join()


def _clean(theirs: Connection, url: str, most: int) -> None:
    """Clean up, and tell of it."""
    database = Database(url)
    forget_peak(os.getpid())
    before, begun_s = resident_bytes(os.getpid()), time.monotonic()
    done = clean_up(database, Room(max_entries=most))
    took_s, grown_bytes = time.monotonic() - begun_s, peak_bytes(os.getpid()) - before
    theirs.send(Cleaned(done=done, took_s=took_s, grown_bytes=max(0, grown_bytes)))
    database.close()


def _work(theirs: Connection, url: str) -> None:
    """Claim, look up, send and settle until told to stop; then tell of the claims."""
    database = Database(url)
    worker, known = Worker(database), live_keys(database, LINES // 2)
    claims: list[Claim] = []
    batch = 0
    while not theirs.poll():
        begun_s = time.monotonic()
        jobs = worker.claim(CLAIM)
        if not jobs:
            batch += 1
            add_batch(database, [*known, *(f"new-{batch}-{nth}" for nth in range(LINES // 2))])
            continue
        claims.append(Claim(at_s=begun_s, took_ms=(time.monotonic() - begun_s) * 1_000))
        if len(claims) == WARM_UP_CLAIMS:
            theirs.send(None)
        sent = worker.send(*worker.look_up(jobs))
        time.sleep(CALL_S)
        worker.settle(*((attempt, ANSWERED) for attempt in sent))
    theirs.recv()
    theirs.send(claims)
    database.close()
