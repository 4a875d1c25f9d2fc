"""Parts `memory` and `cost`: what a batch takes of memory and of processor time a line, as it grows a hundredfold."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from benchmarks.figures import AtLeast, AtMost, Part, Samples, SoFar
from benchmarks.parts.beside import OURS, SERVERS
from benchmarks.peers.programs.batch import WARM_UP_CALLS
from benchmarks.peers.roster import PEERS, Peer
from benchmarks.peers.running import THEIRS, started, tolerated
from benchmarks.processes import Role
from benchmarks.runs import Measured, measure
from benchmarks.stage import Stage
from benchmarks.store import Store

MB = 1_000_000
HELD = "{}: {:,} lines, MB"
GROWTH, RATIO = "largest against smallest, %", "largest against smallest, x"
WITHOUT_UPKEEP = "the same without the server's upkeep, x"
SANDBOX = "the sandbox meanwhile, x"
UPKEEP = "of these the server's upkeep at {:,} lines, ms CPU a request"
HOURS = "{}: the largest would take, h"
SPEND = "{:,} lines, ms CPU a request"
PACE_OF_CALLS = 100
"""A pace is told of no fewer calls: Celery is still queueing, and curator reading, when patience is at an end."""
LOOK_EVERY_S = 0.1
"""The same at every size, as looking takes processor time of its own."""
MEMORY_TARGETS: Mapping[str, AtLeast | AtMost] = {f"{OURS[store]}: {GROWTH}": AtMost(10) for store in Store}
COST_TARGETS: Mapping[str, AtLeast | AtMost] = {f"{OURS[store]}: {RATIO}": AtMost(1.1) for store in Store}


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """Each size on each database; then the peers, for as long as one waits for them."""
    for store in stage.sizes.stores:
        batches = _batches(stage, store)
        yield Part.MEMORY, _memory(OURS[store], batches)
        yield Part.COST, _cost(store, batches)
    if Part.MEMORY in wanted:
        for peer in stage.pythons.present(PEERS):
            with tolerated(stage, Part.MEMORY, peer):
                yield Part.MEMORY, _memory_of_peer(stage, peer)


def _batches(stage: Stage, store: Store) -> Mapping[int, Sequence[Measured]]:
    """What was measured of each size; of the smallest before, between and after the others."""
    small, *larger = stage.sizes.scale
    turns = [small] * stage.sizes.turns
    measured: dict[int, list[Measured]] = {lines: [] for lines in stage.sizes.scale}
    for lines in (*turns, *(each for large in larger for each in (large, *turns))):
        provider, path = stage.provider(), stage.batch_file(lines)
        with stage.home(store, provider) as home:
            measured[lines].append(measure(stage, store, home, provider, path, look_every_s=LOOK_EVERY_S))
    return measured


def _memory(name: str, batches: Mapping[int, Sequence[Measured]]) -> Samples:
    held = {
        lines: median(one.watch.together_bytes for one in measured) for lines, measured in batches.items()
    }
    samples = {HELD.format(name, lines): size / MB for lines, size in held.items()}
    return samples | {f"{name}: {GROWTH}": (_times(held) - 1) * 100}


def _cost(store: Store, batches: Mapping[int, Sequence[Measured]]) -> Samples:
    """Of all our processes, the broker and the database server, from the first line settled to the last."""
    name = OURS[store]
    spent = {lines: _spent(measured, *THEIRS, *SERVERS) for lines, measured in batches.items()}
    sandbox = {lines: _spent(measured, Role.SANDBOX) for lines, measured in batches.items()}
    samples = {f"{name}: {SPEND.format(lines)}": value for lines, value in spent.items()}
    paces = {
        f"{name}: {lines:,} lines, req/s": median(one.settled_per_s for one in measured)
        for lines, measured in batches.items()
    }
    upkeep = _upkeep(name, batches, spent) if store is Store.POSTGRESQL else {}
    ratio, sandboxes = {f"{name}: {RATIO}": _times(spent)}, {f"{name}: {SANDBOX}": _times(sandbox)}
    return {**samples, **ratio, **upkeep, **sandboxes, **paces}


def _upkeep(name: str, batches: Mapping[int, Sequence[Measured]], spent: Mapping[int, float]) -> Samples:
    """What a server puts off until a small batch is over."""
    upkeep = {lines: _spent(measured, Role.UPKEEP) for lines, measured in batches.items()}
    samples: dict[str, float] = {
        f"{name}: {UPKEEP.format(lines)}": upkeep[lines] for lines in (min(batches), max(batches))
    }
    others = {lines: spent[lines] - upkeep[lines] for lines in batches}
    return samples | {f"{name}: {WITHOUT_UPKEEP}": _times(others)}


def _spent(measured: Sequence[Measured], *roles: Role) -> float:
    return median(sum(map(one.settling_cpu_ms_a_line, roles)) for one in measured)


def _times(by_size: Mapping[int, float]) -> float:
    return by_size[max(by_size)] / by_size[min(by_size)]


def _memory_of_peer(stage: Stage, peer: Peer) -> Samples:
    """What it held until it had done, or until patience was at an end; from its pace then, how long the last takes."""
    samples: dict[str, float] = {}
    provider = stage.provider()
    for lines in stage.sizes.scale:
        path = stage.batch_file(lines)
        warm = provider.calls() + WARM_UP_CALLS
        with started(stage, peer, provider.url, path, look_every_s=LOOK_EVERY_S) as running:
            running.wait_for_calls(provider)
            is_whole = running.told(stage.sizes.peer_patience_s) is not None
            held = running.watch.together_bytes / MB
        samples[HELD.format(peer.name, lines)] = held if is_whole else SoFar(held)
        calls = provider.calls() - warm
        if not is_whole and lines == stage.sizes.scale[-1] and calls > PACE_OF_CALLS:
            samples[HOURS.format(peer.name)] = lines / calls * stage.sizes.peer_patience_s / 3_600
    return samples
