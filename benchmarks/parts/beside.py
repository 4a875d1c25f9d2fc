"""Parts `peers` and `peers-cached`: the same file by ours and by every peer, in turn; and that very file once more."""

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.peers.roster import LOOP, PEERS, Peer
from benchmarks.peers.running import THEIRS, Ran, tolerated
from benchmarks.peers.running import run as run_peer
from benchmarks.processes import Role
from benchmarks.runs import BenchmarkError, Measured, measure
from benchmarks.stage import Stage
from benchmarks.store import Store

OURS: Mapping[Store, str] = {store: f"batchmill, {store}" for store in Store}
SERVERS = (Role.BROKER, Role.DATABASE)
PACE, WHOLE = "answered, req/s", "from the command's start to its end, req/s"
CPU, ALL_CPU = "its processes, ms CPU a call", "with broker and database, ms CPU a call"
CACHED, CACHED_WHOLE = "answered, lines/s", "from the command's start to its end, lines/s"
FASTER, THRIFTIER = "{}: {} is quicker, x", "{}: {} takes less CPU, x"
TARGETS: Mapping[str, AtLeast | AtMost] = {
    FASTER.format(LOOP.name, OURS[store]): AtLeast(3) for store in Store
}
CACHED_TARGETS: Mapping[str, AtLeast | AtMost] = {
    f"{OURS[store]}: {CACHED}": AtLeast(15_000) for store in Store
}


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """One round: ours on each database, then each peer; ratios are of the same round."""
    found: dict[str, Samples] = {}
    for store in stage.sizes.stores:
        first, *again = _ours(stage, store, 2 if Part.PEERS_CACHED in wanted else 1)
        found[OURS[store]] = _of_ours(first)
        for second in again:
            cached = _cached(second.settled_per_s, second.lines / second.command_s)
            yield Part.PEERS_CACHED, _named(OURS[store], cached)
    for peer in stage.pythons.present(PEERS):
        if Part.PEERS in wanted:
            with tolerated(stage, Part.PEERS, peer):
                found[peer.name] = _of_theirs(_run(stage, peer))
        if peer.has_cache and Part.PEERS_CACHED in wanted:
            with tolerated(stage, Part.PEERS_CACHED, peer):
                yield Part.PEERS_CACHED, _named(peer.name, _again(stage, peer))
    for name, samples in found.items():
        yield Part.PEERS, _named(name, samples)
    yield Part.PEERS, ratios(found)


def _ours(stage: Stage, store: Store, times: int) -> Sequence[Measured]:
    provider, path = stage.provider(), stage.batch_file(stage.sizes.peer_lines)
    with stage.home(store, provider) as home:
        return [measure(stage, store, home, provider, path) for _ in range(times)]


def _of_ours(measured: Measured) -> Samples:
    own = sum(measured.settling_cpu_ms_a_line(role) for role in THEIRS)
    return {
        PACE: measured.settled_per_s,
        WHOLE: measured.lines / measured.command_s,
        CPU: own,
        ALL_CPU: own + sum(measured.settling_cpu_ms_a_line(role) for role in SERVERS),
    }


def _run(stage: Stage, peer: Peer, *options: str) -> Ran:
    return run_peer(stage, peer, stage.provider().url, stage.sizes.peer_lines, *options)


def _of_theirs(ran: Ran) -> Samples:
    return {
        PACE: ran.per_s,
        WHOLE: ran.lines / ran.whole_s,
        CPU: ran.cpu_ms_a_line(*THEIRS),
        ALL_CPU: ran.cpu_ms_a_line(*THEIRS, *SERVERS),
    }


def _again(stage: Stage, peer: Peer) -> Samples:
    """The second of two runs that share a cache."""
    cache = ("--cache", str(stage.empty_folder()), "--broker", stage.valkey_url)
    _run(stage, peer, *cache)
    before = stage.provider().calls()
    ran = _run(stage, peer, *cache)
    if stage.provider().calls() - before >= ran.lines:
        raise BenchmarkError("its cache answered nothing, all was asked again")
    return _cached(ran.per_s, ran.lines / ran.whole_s)


def _cached(per_s: float, whole_per_s: float) -> Samples:
    return {CACHED: per_s, CACHED_WHOLE: whole_per_s}


def _named(name: str, samples: Samples) -> Samples:
    return {f"{name}: {what}": value for what, value in samples.items()}


def ratios(found: Mapping[str, Samples]) -> Samples:
    """How ours compare with each peer, of what was found of everybody."""
    compared: dict[str, float] = {}
    for peer in (peer for peer in PEERS if peer.name in found):
        theirs = found[peer.name]
        for name in (name for name in OURS.values() if name in found):
            ours = found[name]
            compared[FASTER.format(peer.name, name)] = ours[PACE] / theirs[PACE]
            compared[THRIFTIER.format(peer.name, name)] = theirs[CPU] / ours[CPU]
    return compared
