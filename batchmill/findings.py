"""Findings: what a look at an installation brings to light, good or bad."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How bad it is. Only a failure is against a promise or keeps everything from working."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One place where it was found.

    Attributes:
        batch: The batch's public name; None where it is of no batch.
        place: The line's place in the batch, from 1; None where it is of no line.
        attempt: Which call of the line, from 1; None where it is of none.
        detail: What is found there.
    """

    batch: str | None = None
    place: int | None = None
    attempt: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        check: The check's name.
        invariant: The number of the promise that it checks; None for a check of the surroundings.
        message: What is so, in a sentence.
        examples: A few of the places, where it is not as it should be.
        has_more: Whether there are more places than these.
        hint: What to do about it; "" where nothing is to be done.
    """

    check: str
    level: Level
    message: str
    invariant: int | None = None
    examples: tuple[Example, ...] = ()
    has_more: bool = False
    hint: str = ""


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether nothing is broken; warnings do not count."""
    return all(finding.level is not Level.FAILURE for finding in findings)


def findings_view(findings: Sequence[Finding]) -> dict[str, Any]:
    """Findings as JSON shows them."""
    return {"well": is_well(findings), "findings": [finding_view(finding) for finding in findings]}


def finding_view(finding: Finding) -> dict[str, Any]:
    """One of them."""
    return asdict(finding) | {"examples": [asdict(example) for example in finding.examples]}
