"""`docs/benchmarks.json`: what has been measured, by part; what is measured anew replaces what there was of a part."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import AtLeast, AtMost, Figure, Part, SoFar
from benchmarks.profile import Profile
from benchmarks.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One part, as it was measured in one session.

    Attributes:
        machine: What it was measured on and with, the date included.
        sizes: How much of everything there was.
        is_quick: Made only to show that it runs.
        versions: Of the peers in it, by their names.
        absent: Why some peers are not in it.
    """

    machine: Mapping[str, str]
    sizes: Mapping[str, Any]
    is_quick: bool
    figures: Sequence[Figure]
    profiles: Sequence[Profile] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For the file."""
        return {
            "machine": dict(self.machine),
            "sizes": dict(self.sizes),
            "is_quick": self.is_quick,
            "figures": [_figure_json(figure) for figure in self.figures],
            "profiles": [
                {"store": profile.store, "tables": {name: dict(of) for name, of in profile.tables.items()}}
                for profile in self.profiles
            ],
            "versions": dict(self.versions),
            "absent": dict(self.absent),
        }


@dataclass(frozen=True, slots=True)
class Document:
    """All that is known, by part, in the order of the page."""

    parts: Mapping[Part, Measurement] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Document":
        """What a file says; nothing where there is none."""
        if not path.exists():
            return cls()
        told = json.loads(path.read_text(encoding="utf-8"))["parts"]
        return cls({part: _measurement(part, told[part]) for part in Part if part in told})

    def save(self, path: Path) -> None:
        """Write it down."""
        parts = {part: measurement.as_json() for part, measurement in self.parts.items()}
        path.write_text(json.dumps({"parts": parts}, indent=1) + "\n", encoding="utf-8")

    def updated(self, new: "Document") -> "Document":
        """With the parts of another put over these; quick ones never replace what was measured in earnest."""
        kept = {
            part
            for part, measurement in new.parts.items()
            if measurement.is_quick and part in self.parts and not self.parts[part].is_quick
        }
        taken = {part: measurement for part, measurement in new.parts.items() if part not in kept}
        both = {**self.parts, **taken}
        return Document({part: both[part] for part in Part if part in both})

    @property
    def figures(self) -> list[Figure]:
        """Of all parts."""
        return [figure for measurement in self.parts.values() for figure in measurement.figures]

    def find(self, part: Part, name: str, unit: str) -> Figure | None:
        """One figure, if it has been measured."""
        return next(
            (
                figure
                for figure in self.figures
                if (figure.part, figure.name, figure.unit) == (part, name, unit)
            ),
            None,
        )


def _figure_json(figure: Figure) -> dict[str, Any]:
    kind = {AtLeast: "at_least", AtMost: "at_most"}
    return {
        "name": figure.name,
        "unit": figure.unit,
        "value": figure.value,
        "samples": list(figure.samples),
        "is_so_far": figure.is_so_far,
        "target": {kind[type(figure.target)]: figure.target.value} if figure.target else None,
        "met": figure.is_met,
    }


def _measurement(part: Part, told: Mapping[str, Any]) -> Measurement:
    return Measurement(
        machine=told["machine"],
        sizes=told["sizes"],
        is_quick=told["is_quick"],
        figures=tuple(_figure(part, figure) for figure in told["figures"]),
        profiles=tuple(
            Profile(part=part, store=Store(profile["store"]), tables=profile["tables"])
            for profile in told["profiles"]
        ),
        versions=told["versions"],
        absent=told["absent"],
    )


def _figure(part: Part, told: Mapping[str, Any]) -> Figure:
    target: AtLeast | AtMost | None = None
    if told["target"]:
        ((kind, value),) = told["target"].items()
        target = AtLeast(value) if kind == "at_least" else AtMost(value)
    number = SoFar if told["is_so_far"] else float
    return Figure(
        part=part,
        name=told["name"],
        unit=told["unit"],
        samples=tuple(map(number, told["samples"])),
        target=target,
    )
