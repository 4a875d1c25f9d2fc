"""The figures: what each one says, in which unit, and the target it is to meet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

Samples = Mapping[str, float]
"""What one round of a part has measured, by figure."""


class SoFar(float):
    """A value that would have gone on rising: it was looked at for a limited time."""


class Part(StrEnum):
    """What can be measured on its own, in the order of the page: beside the others first."""

    PEERS = "peers"
    PEERS_CACHED = "peers-cached"
    PEERS_SLOW = "peers-slow"
    PEERS_QUOTA = "peers-quota"
    LANES = "lanes"
    MEMORY = "memory"
    COST = "cost"
    UNIQUE = "unique"
    CACHED = "cached"
    BUDGETS = "budgets"
    INGEST = "ingest"
    QUOTE = "quote"
    CLIENT = "client"
    LIMITS = "limits"
    QUOTA = "quota"
    UTILISATION = "utilisation"
    SERVICE = "service"
    DIRECT = "direct"
    CLEANUP = "cleanup"

    @property
    def is_beside(self) -> bool:
        """Whether the others are measured in it: `make bench-peers`, not `make bench`."""
        return self in BESIDE


BESIDE = frozenset(
    (
        *(Part.PEERS, Part.PEERS_CACHED, Part.PEERS_SLOW, Part.PEERS_QUOTA),
        *(Part.LANES, Part.MEMORY, Part.COST),
    )
)


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A target that is met from this value on."""

    value: float

    def is_met(self, measured: float) -> bool:
        """Whether that is enough."""
        return measured >= self.value

    def __str__(self) -> str:
        return f"≥ {number(self.value)}"


@dataclass(frozen=True, slots=True)
class AtMost:
    """A target that is met up to this value."""

    value: float

    def is_met(self, measured: float) -> bool:
        """Whether that is little enough."""
        return measured <= self.value

    def __str__(self) -> str:
        return f"≤ {number(self.value)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the report.

    Attributes:
        samples: One value for each round.
        target: None where nothing was promised.
    """

    part: Part
    name: str
    unit: str
    samples: tuple[float, ...]
    target: AtLeast | AtMost | None = None

    @property
    def value(self) -> float:
        """The median."""
        return median(self.samples)

    @property
    def is_so_far(self) -> bool:
        """Whether it is at least that, and would have gone on rising."""
        return any(isinstance(sample, SoFar) for sample in self.samples)

    @property
    def shown(self) -> str:
        """The median with as many digits as are worth reading."""
        return f"≥ {number(self.value)}" if self.is_so_far else number(self.value)

    @property
    def range(self) -> str:
        """Lowest and highest; nothing of a single sample."""
        if len(self.samples) == 1:
            return ""
        return f"{number(min(self.samples))} to {number(max(self.samples))}"

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return self.target.is_met(self.value) if self.target else None

    @property
    def verdict(self) -> str:
        """The same in a word."""
        return {None: "", True: "met", False: "MISSED"}[self.is_met]


_UNITS = (
    "calls",
    "req/s",
    "lines/s",
    "ms CPU a request",
    "ms CPU a call",
    "calls/s",
    "MB",
    "h",
    "s",
    "ms",
    "x",
    "%",
)


def figures_of(
    part: Part, rounds: Sequence[Samples], targets: Mapping[str, AtLeast | AtMost]
) -> list[Figure]:
    """The figures of a part: a sample's name is `what it is, unit`."""
    names = dict.fromkeys(name for samples in rounds for name in samples)
    return [_figure(part, name, [samples[name] for samples in rounds], targets.get(name)) for name in names]


def _figure(part: Part, full_name: str, samples: Sequence[float], target: AtLeast | AtMost | None) -> Figure:
    name, _, unit = full_name.rpartition(", ")
    assert unit in _UNITS, full_name
    return Figure(part=part, name=name, unit=unit, samples=tuple(samples), target=target)


def number(value: float) -> str:
    """A number with as many digits as are worth reading: 1,632 · 25.3 · 0.412."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def table_of(figures: Sequence[Figure]) -> list[dict[str, str]]:
    """Rows for the terminal."""
    return [
        {
            "part": figure.part,
            "figure": figure.name,
            "median": figure.shown,
            "unit": figure.unit,
            "range": figure.range,
            "target": str(figure.target or ""),
            "": figure.verdict,
        }
        for figure in figures
    ]
