"""Parts `memory` and `cost`: what a batch takes of memory and of processor time a line, as it grows a hundredfold."""

from collections.abc import Iterator, Mapping

from benchmarks.figures import AtLeast, AtMost, Part, Samples, SoFar
from benchmarks.parts.beside import OURS, SERVERS
from benchmarks.peers.programs.batch import WARM_UP_CALLS
from benchmarks.peers.roster import PEERS, Peer
from benchmarks.peers.running import THEIRS, started, tolerated
from benchmarks.runs import Measured, measure
from benchmarks.stage import Stage
from benchmarks.store import Store

MB = 1_000_000
HELD = "{}: {:,} lines, MB"
GROWTH, RATIO = "largest against smallest, %", "largest against smallest, x"
HOURS = "{}: the largest would take, h"
SPEND = "{:,} lines, ms CPU a request"
PACE_OF_CALLS = 100
"""A pace is told of no fewer calls: Celery is still queueing, and curator reading, when patience is at an end."""
LOOK_EVERY_S = 0.5
"""At large batches: looking ten times as often would take a tenth of a processor."""
MEMORY_TARGETS: Mapping[str, AtLeast | AtMost] = {f"{OURS[store]}: {GROWTH}": AtMost(10) for store in Store}
COST_TARGETS: Mapping[str, AtLeast | AtMost] = {f"{OURS[store]}: {RATIO}": AtMost(1.1) for store in Store}


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """Each size on each database; then the peers, for as long as one waits for them."""
    for store in stage.sizes.stores:
        batches = [_measured(stage, store, lines) for lines in stage.sizes.scale]
        yield Part.MEMORY, _memory(OURS[store], batches)
        yield Part.COST, _cost(OURS[store], batches)
    if Part.MEMORY in wanted:
        for peer in stage.pythons.present(PEERS):
            with tolerated(stage, Part.MEMORY, peer):
                yield Part.MEMORY, _memory_of_peer(stage, peer)


def _measured(stage: Stage, store: Store, lines: int) -> Measured:
    provider, path = stage.provider(), stage.batch_file(lines)
    is_large = lines > stage.sizes.scale[0]
    with stage.home(store, provider) as home:
        every_s = LOOK_EVERY_S if is_large else 0.05
        return measure(stage, store, home, provider, path, look_every_s=every_s)


def _memory(name: str, batches: list[Measured]) -> Samples:
    held = [batch.watch.together_bytes for batch in batches]
    samples = {HELD.format(name, batch.lines): size / MB for batch, size in zip(batches, held, strict=True)}
    return samples | {f"{name}: {GROWTH}": (held[-1] / held[0] - 1) * 100}


def _cost(name: str, batches: list[Measured]) -> Samples:
    """Of all our processes, the broker and the database server, from the first line settled to the last."""
    spent = [sum(batch.settling_cpu_ms_a_line(role) for role in (*THEIRS, *SERVERS)) for batch in batches]
    samples = {
        f"{name}: {SPEND.format(batch.lines)}": value for batch, value in zip(batches, spent, strict=True)
    }
    paces = {f"{name}: {batch.lines:,} lines, req/s": batch.settled_per_s for batch in batches}
    return samples | {f"{name}: {RATIO}": spent[-1] / spent[0]} | paces


def _memory_of_peer(stage: Stage, peer: Peer) -> Samples:
    """What it held until it had done, or until patience was at an end; from its pace then, how long the last takes."""
    samples: dict[str, float] = {}
    provider = stage.provider()
    for lines in stage.sizes.scale:
        path, every_s = stage.batch_file(lines), LOOK_EVERY_S / 5
        warm = provider.calls() + WARM_UP_CALLS
        with started(stage, peer, provider.url, path, look_every_s=every_s) as running:
            running.wait_for_calls(provider)
            is_whole = running.told(stage.sizes.peer_patience_s) is not None
            held = running.watch.together_bytes / MB
        samples[HELD.format(peer.name, lines)] = held if is_whole else SoFar(held)
        calls = provider.calls() - warm
        if not is_whole and lines == stage.sizes.scale[-1] and calls > PACE_OF_CALLS:
            samples[HOURS.format(peer.name)] = lines / calls * stage.sizes.peer_patience_s / 3_600
    return samples
