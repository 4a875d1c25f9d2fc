"""Part `peers-slow`: a provider that takes its time, and how full each one keeps its window of calls."""

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.parts.beside import OURS
from benchmarks.peers.roster import PEERS, Peer
from benchmarks.peers.running import started, tolerated
from benchmarks.runs import BenchmarkError, measure
from benchmarks.stage import Provider, Stage
from benchmarks.store import Store
from tests.support.mill import Sandbox, sandbox

MB = 1_000_000
USED = "{}: calls made of those the slots allow, %"
TARGETS: Mapping[str, AtLeast | AtMost] = {USED.format(OURS[store]): AtLeast(95) for store in Store}


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """One batch each, all seen by the provider's own log."""
    shortest_s, longest_s = stage.sizes.latency_s
    latency = ("--latency", f"{shortest_s}-{longest_s}")
    for store in stage.sizes.stores:
        with sandbox(stage.empty_folder(), *latency) as provider:
            held = _ours(stage, store, provider)
            yield Part.PEERS_SLOW, _samples(stage, OURS[store], provider, held)
    for peer in stage.pythons.present(PEERS):
        with tolerated(stage, Part.PEERS_SLOW, peer), sandbox(stage.empty_folder(), *latency) as provider:
            held = _theirs(stage, peer, provider)
            yield Part.PEERS_SLOW, _samples(stage, peer.name, provider, held)


def _ours(stage: Stage, store: Store, sandbox: Sandbox) -> int:
    provider = Provider(url=sandbox.url, pid=sandbox.process.pid)
    path = stage.batch_file(stage.sizes.slow_lines)
    with stage.home(store, provider) as home:
        slots = ("--concurrency", str(stage.sizes.slots))
        return measure(stage, store, home, provider, path, *slots).watch.together_bytes


def _theirs(stage: Stage, peer: Peer, provider: Sandbox) -> int:
    path = stage.batch_file(stage.sizes.slow_lines)
    slots = ("--in-flight", str(stage.sizes.slots))
    with started(stage, peer, provider.url, path, *slots) as running:
        running.wait_for_calls(Provider(url=provider.url, pid=provider.process.pid))
        running.told(stage.sizes.peer_patience_s)
        return running.watch.together_bytes


def _samples(stage: Stage, name: str, provider: Sandbox, held: int) -> Samples:
    shortest_s, longest_s = stage.sizes.latency_s
    possible = stage.sizes.slots / ((shortest_s + longest_s) / 2)
    made = steady_calls_per_s([call["time"] for call in provider.calls()], stage.sizes.slow_lines, longest_s)
    return {
        USED.format(name): made / possible * 100,
        f"{name}: calls made, calls/s": made,
        f"{name}: its processes held, MB": held / MB,
    }


def steady_calls_per_s(arrived_s: Sequence[float], lines: int, longest_s: float) -> float:
    """Calls that arrive in a second, from when the first slots have been used twice until the last call.

    What came before the last `lines` calls was to get warm.
    """
    seen = arrived_s[-lines:]
    begin_s, end_s = seen[0] + 2 * longest_s, seen[-1]
    if end_s <= begin_s:
        raise BenchmarkError("its calls were over before the first slots had been used twice")
    return sum(begin_s <= at_s < end_s for at_s in seen) / (end_s - begin_s)
