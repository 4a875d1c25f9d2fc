"""Readings: the metrics of several processes put together, as Prometheus is told them."""

import contextlib
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.samples import Sample

from batchmill.metering.families import FAMILIES
from batchmill.metering.family import Family, Kind, gauge
from workers.meters.folder import APART, MeterFolder, folders

BUILD = gauge("batchmill_build_info", "1; its label says which batchmill it is.", "version")

TRIES, TRY_AGAIN_S = 5, 0.01

Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""Of a sample: its family's name, its own, its labels."""

_KNOWN = {family.name: family for family in FAMILIES}


def build_info() -> Metric:
    """Which batchmill it is."""
    metric = GaugeMetricFamily(BUILD.name, BUILD.meaning, labels=BUILD.labels)
    metric.add_metric([version("batchmill")], 1.0)
    return metric


def read_folder(folder: MeterFolder) -> dict[Key, float]:
    """What the processes of one launcher have told so far.

    Raises:
        OSError: It is gone, or cannot be read.
    """
    with folder.reading() as files:
        for _ in range(TRIES):
            # A process that has just begun makes its files, and then writes into them.
            with contextlib.suppress(struct.error, RuntimeError):
                return samples_of(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
            time.sleep(TRY_AGAIN_S)
    raise OSError(f"files of metrics in {folder.path} cannot be read")


def samples_of(metrics: Iterable[Metric]) -> dict[Key, float]:
    """The samples of metrics, those of ours alone."""
    return {
        (metric.name, sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in metrics
        if metric.name in _KNOWN
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }


def summed(readings: Iterable[dict[Key, float]]) -> dict[Key, float]:
    """Several readings as one: what is the same of each, together."""
    sums: dict[Key, float] = defaultdict(float)
    for reading in readings:
        for key, value in reading.items():
            sums[key] += value
    return sums


def metrics_of(samples: dict[Key, float]) -> Iterator[Metric]:
    """Samples as families, in their order."""
    grouped: dict[str, list[tuple[Key, float]]] = defaultdict(list)
    for key, value in samples.items():
        grouped[key[0]].append((key, value))
    for family in FAMILIES:
        if family.name in grouped:
            yield _metric(family, grouped[family.name])


def _metric(family: Family, samples: Sequence[tuple[Key, float]]) -> Metric:
    metric = Metric(family.name, family.meaning, family.kind.value)
    metric.samples = [Sample(name, dict(labels), value) for (_, name, labels), value in samples]
    return metric


class HomeReadings:
    """What the launchers of a home tell, those that have ended since included.

    A counter must not fall when one of several launchers ends, or Prometheus takes it for begun anew and counts the
    others' part twice. So what an ended one told last is remembered, for as long as this process lives.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._last: dict[Path, dict[Key, float]] = {}
        self._gone: dict[Key, float] = {}

    def read(self) -> dict[Key, float]:
        """All of it together."""
        with self._lock:
            return self._read()

    def _read(self) -> dict[Key, float]:
        now = {}
        for folder in folders(self._home):
            if folder.path.suffix != APART and folder.is_alive:
                try:
                    now[folder.path] = read_folder(folder)
                except OSError:  # it is just ending; it has ended, for us, when it is no longer there
                    now[folder.path] = self._last.get(folder.path, {})
        ended = [reading for path, reading in self._last.items() if path not in now]
        self._gone = summed([self._gone, *map(_counted, ended)])
        self._last = now
        return summed([self._gone, *now.values()])


def _counted(reading: dict[Key, float]) -> dict[Key, float]:
    return {key: value for key, value in reading.items() if _KNOWN[key[0]].kind is not Kind.GAUGE}
