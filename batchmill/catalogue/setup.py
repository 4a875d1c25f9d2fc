"""What `batchmill providers setup` does, decided before anything is written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

from batchmill.catalogue.entries import ModelEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An entry of the owner's that is not as it is shipped.

    Attributes:
        fields: Names of the fields of `ModelEntry` that differ.
    """

    entry: ModelEntry
    shipped: ModelEntry
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupPlan:
    """What is to be done.

    Attributes:
        added: To be entered.
        same: There already, and as shipped.
        different: There already, and otherwise: the owner's work, which stays unless it is to be reset.
    """

    added: tuple[ModelEntry, ...]
    same: tuple[ModelEntry, ...]
    different: tuple[Difference, ...]


def plan_setup(shipped: Sequence[ModelEntry], present: Iterable[ModelEntry]) -> SetupPlan:
    """Return what has to be done to have the shipped entries beside those present.

    A new entry becomes the default of its tier only where the tier has none: the owner's choice stays.
    """
    there = {entry.key: entry for entry in present}
    taken = {entry.tier for entry in there.values() if entry.is_default}
    return SetupPlan(
        added=tuple(
            replace(entry, is_default=entry.is_default and entry.tier not in taken)
            for entry in shipped
            if entry.key not in there
        ),
        same=tuple(entry for entry in shipped if there.get(entry.key) == entry),
        different=tuple(
            Difference(entry=there[entry.key], shipped=entry, fields=differing)
            for entry in shipped
            if entry.key in there and (differing := _differing(there[entry.key], entry))
        ),
    )


def _differing(one: ModelEntry, other: ModelEntry) -> tuple[str, ...]:
    return tuple(
        field.name for field in fields(ModelEntry) if getattr(one, field.name) != getattr(other, field.name)
    )
