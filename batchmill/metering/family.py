"""Families of metrics: what there is to tell, under which name, with which labels."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a metric moves."""

    COUNTER = "counter"
    """Up only; told with `_total` behind its name."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Family:
    """A metric with all its series, under Prometheus' conventions.

    Attributes:
        name: Of a counter without `_total`.
        meaning: In a line.
        labels: None has values without end: no batch, no request, no user.
        note: More, for who looks it up.
        buckets: Of a histogram: the upper bounds but for the last, which is infinity.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    note: str = ""
    buckets: tuple[float, ...] = ()

    @property
    def told_as(self) -> str:
        """The name that queries use."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name


def counter(name: str, meaning: str, *labels: str, note: str = "") -> Family:
    """A family of counters."""
    return Family(name=name, kind=Kind.COUNTER, meaning=meaning, labels=labels, note=note)


def gauge(name: str, meaning: str, *labels: str, note: str = "") -> Family:
    """A family of gauges."""
    return Family(name=name, kind=Kind.GAUGE, meaning=meaning, labels=labels, note=note)


def histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str, note: str = "") -> Family:
    """A family of histograms."""
    return Family(name=name, kind=Kind.HISTOGRAM, meaning=meaning, labels=labels, note=note, buckets=buckets)
