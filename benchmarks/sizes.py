"""How much is measured: the sizes the targets speak of, and small ones that only show that everything runs."""

from dataclasses import dataclass

from benchmarks.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many of everything.

    Attributes:
        stores: Databases; memory is measured on SQLite in any case.
        rounds: How often the short parts are measured, in turn; the median counts.
        turns: How often each of two ways that are compared is gone in a round, in turn.
        lines: Of a batch of ordinary size.
        many_lines: Of a large batch.
        ingest_lines: Of the file that is only taken in.
        admissions: Calls that the rate limiter lets through in a round.
        direct_calls: Single calls in each way, one after the other.
        peer_lines: Of the file that everybody answers in a round.
        peer_patience_s: How long a peer is waited for where it is not made to come to its end.
        scale: Lines of ever larger batches.
        urgent: Urgent requests.
        low_lines: Of the batch that is before them.
        quota_peers_s: How long a provider's limits are used up beside others.
        slots: Calls in flight where the provider is slow.
        slow_lines: Of the batch it answers slowly.
        latency_s: Shortest and longest time of such an answer.
        quota_s: How long a provider's limits are used up.
        quota_processes: By so many worker processes.
        upload_mb: Size of a large upload, and of many together.
        uploads: How many those are.
        cache_entries: Of the cache that is cleaned up.
        undisturbed_s: How long the worker beside it is watched before that.
    """

    stores: tuple[Store, ...]
    rounds: int
    turns: int
    lines: int
    many_lines: int
    ingest_lines: int
    admissions: int
    direct_calls: int
    peer_lines: int
    peer_patience_s: float
    scale: tuple[int, ...]
    urgent: int
    low_lines: int
    quota_peers_s: float
    slots: int
    slow_lines: int
    latency_s: tuple[float, float]
    quota_s: float
    quota_processes: int
    upload_mb: int
    uploads: int
    cache_entries: int
    undisturbed_s: float


FULL = Sizes(
    stores=(Store.SQLITE, Store.POSTGRESQL),
    rounds=3,
    turns=3,
    lines=10_000,
    many_lines=200_000,
    ingest_lines=100_000,
    admissions=30_000,
    direct_calls=300,
    peer_lines=10_000,
    peer_patience_s=60.0,
    scale=(10_000, 100_000, 1_000_000),
    urgent=40,
    low_lines=100_000,
    quota_peers_s=120.0,
    slots=500,
    slow_lines=7_000,
    latency_s=(0.5, 2.0),
    quota_s=180.0,
    quota_processes=4,
    upload_mb=200,
    uploads=50,
    cache_entries=1_000_000,
    undisturbed_s=10.0,
)
QUICK = Sizes(
    stores=(Store.POSTGRESQL,),
    rounds=1,
    turns=1,
    lines=200,
    many_lines=1_000,
    ingest_lines=3_000,
    admissions=500,
    direct_calls=10,
    peer_lines=200,
    peer_patience_s=8.0,
    scale=(200, 600, 1_000),
    urgent=3,
    low_lines=6_000,
    quota_peers_s=4.0,
    slots=20,
    slow_lines=300,
    latency_s=(0.05, 0.2),
    quota_s=4.0,
    quota_processes=2,
    upload_mb=5,
    uploads=5,
    cache_entries=2_000,
    undisturbed_s=0.3,
)
