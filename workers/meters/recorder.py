"""The recorder of a process: writes what it has counted into prometheus_client's metrics, once a second.

So the calls themselves are counted in plain Python (`batchmill.metering`), and locks and files cost a fixed little
a second, however many calls there are. What a process that is killed has counted since is lost.
"""

import contextlib
import os
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import IO, Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from batchmill.metering import families
from batchmill.metering.family import Family, Kind
from batchmill.metering.tally import Tally
from workers.meters.folder import MeterFolder

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Recorder:
    """Writes tallies of one process. One a process: two would overwrite each other's numbers.

    Args:
        role: What this process is for.
        registry: Where its metrics are read, in a process that tells them itself; else the folder has them.
        life: A lock that is held for as long as the process lives.
    """

    def __init__(
        self, role: str, registry: CollectorRegistry | None = None, life: IO[bytes] | None = None
    ) -> None:
        self.registry = registry
        self._life = life
        self._metrics: dict[Family, Any] = {}
        self._own = Tally()
        self._cpu = self._own.count(families.PROCESS_CPU, role)
        self._resident = self._own.count(families.PROCESS_RESIDENT, role)
        self._cpu_s = 0.0

    def record(self, tally: Tally) -> None:
        """Write down what has been counted since this was last called."""
        self._look_at_process()
        for counted in (self._own, tally):
            for family, labels, value in counted.taken_counts():
                series = self._series(family, labels)
                series.inc(value) if family.kind is Kind.COUNTER else series.set(value)
            for family, labels, counts, total in counted.taken_spreads():
                _observe(self._series(family, labels), counts, total)

    def _look_at_process(self) -> None:
        cpu_s = time.process_time()
        self._cpu.value += cpu_s - self._cpu_s
        self._cpu_s = cpu_s
        with contextlib.suppress(OSError), open("/proc/self/statm", "rb") as file:
            self._resident.value = float(int(file.read().split()[1]) * _PAGE_BYTES)

    def _series(self, family: Family, labels: Sequence[str]) -> Any:
        metric = self._metrics.get(family)
        if metric is None:
            metric = self._metrics[family] = self._make(family)
        return metric.labels(*labels) if labels else metric

    def _make(self, family: Family) -> Any:
        about: dict[str, Any] = {"labelnames": family.labels, "registry": self.registry}
        match family.kind:
            case Kind.COUNTER:
                return Counter(family.name, family.meaning, **about)
            case Kind.HISTOGRAM:
                return Histogram(family.name, family.meaning, buckets=family.buckets, **about)
            case Kind.GAUGE:
                # Of the processes that live, together: each has its own part of the calls and the memory.
                return Gauge(family.name, family.meaning, multiprocess_mode="livesum", **about)


def _observe(histogram: Any, counts: Sequence[int], total: float) -> None:
    """Count many observations at once, for which prometheus_client has no method."""
    for bucket, count in zip(histogram._buckets, counts, strict=True):
        if count:
            bucket.inc(count)
    histogram._sum.inc(total)


@lru_cache(maxsize=1)
def recorder_in(folder: MeterFolder, role: str) -> Recorder:
    """The recorder of this process, which writes in its launcher's folder."""
    return Recorder(role, life=folder.join())


@lru_cache(maxsize=1)
def recorder_here() -> Recorder:
    """The recorder of this process, the service's, which tells its metrics itself."""
    return Recorder("service", CollectorRegistry(auto_describe=False))
