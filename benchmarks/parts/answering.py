"""Parts `unique` and `cached`: a batch nobody has asked before, and the very same batch once more."""

from collections.abc import Iterator, Mapping

from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.processes import Role
from benchmarks.runs import Measured, measure
from benchmarks.stage import Stage
from benchmarks.store import Store

_LEAST = {Store.SQLITE: 3_000, Store.POSTGRESQL: 2_000}
UNIQUE_TARGETS: Mapping[str, AtLeast | AtMost] = {
    f"{store}: answered, req/s": AtLeast(least) for store, least in _LEAST.items()
} | {f"{store}: worker, ms CPU a request": AtMost(0.4) for store in Store}
CACHED_TARGETS: Mapping[str, AtLeast | AtMost] = {
    f"{store}: answered, lines/s": AtLeast(15_000) for store in Store
}
_ACCOUNTS = (Role.WORKER, Role.LAUNCHER, Role.WORKER_PARENT, Role.DATABASE, Role.SANDBOX)


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """One round on each database; without `cached` the second run is left out."""
    provider = stage.provider()
    path = stage.batch_file(stage.sizes.lines)
    for store in stage.sizes.stores:
        with stage.home(store, provider) as home:
            first = measure(stage, store, home, provider, path)
            if Part.UNIQUE in wanted:
                yield Part.UNIQUE, _unique(store, first)
            if Part.CACHED in wanted:
                yield Part.CACHED, _cached(store, measure(stage, store, home, provider, path))


def _unique(store: Store, measured: Measured) -> Samples:
    samples = {
        f"{store}: answered, req/s": measured.settled_per_s,
        f"{store}: from the batch's start, req/s": measured.lines / measured.answering_s,
        f"{store}: whole command, s": measured.command_s,
    }
    for role in _ACCOUNTS:
        if role is not Role.DATABASE or store is Store.POSTGRESQL:
            samples[f"{store}: {role}, ms CPU a request"] = measured.cpu_ms_a_line(role)
    return samples


def _cached(store: Store, measured: Measured) -> Samples:
    return {
        f"{store}: answered, lines/s": measured.settled_per_s,
        f"{store}: from the batch's start, lines/s": measured.lines / measured.answering_s,
        f"{store}: whole command, s": measured.command_s,
        f"{store}: worker, ms CPU a request": measured.cpu_ms_a_line(Role.WORKER),
    }
