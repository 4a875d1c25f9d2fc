"""The path of a request: whom it was to go to, whom it went to, and why, as its owner may read it afterwards."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from batchmill.routing.names import Target

MOST_STEPS = 20
FIRST_STEPS = 5
"""So many of the first steps stay however many follow: they tell what was intended."""
LONGEST_WHY = 300


class What(StrEnum):
    """What happened to a target."""

    CHOSEN = "chosen"
    """It is to be asked."""
    SKIPPED = "skipped"
    """It was its turn, but it could not be asked just then."""
    TRIED = "tried"
    """It was asked and did not answer the question."""
    ANSWERED = "answered"
    """It was asked, and its answer is the request's."""
    REJECTED = "rejected"
    """It does not fit the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.

    Attributes:
        why: For people; cut at `LONGEST_WHY` characters when it is added to a path.
        at_ms: When it was made, the first time.
        count: How many times in a row.
    """

    target: Target
    what: What
    why: str
    at_ms: int
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The steps in order, `MOST_STEPS` at most: beyond that those after the first `FIRST_STEPS` go, the oldest first.

    Attributes:
        dropped: How many are no longer there, each time counted.
    """

    steps: tuple[Step, ...] = ()
    dropped: int = 0

    @property
    def given_up(self) -> frozenset[Target]:
        """Who has been asked and did not answer."""
        return frozenset(step.target for step in self.steps if step.what is What.TRIED)

    @property
    def calls_to_others(self) -> int:
        """How many calls it took to find that out."""
        return sum(step.count for step in self.steps if step.what is What.TRIED)

    def added(self, step: Step) -> "Path":
        """Return the path with one more step; one that only repeats the last is counted there."""
        step = replace(step, why=_cut(step.why))
        if self.steps and _is_repeated(self.steps[-1], step):
            last = replace(self.steps[-1], count=self.steps[-1].count + step.count)
            return replace(self, steps=(*self.steps[:-1], last))
        steps, dropped = (*self.steps, step), self.dropped
        if len(steps) > MOST_STEPS:
            dropped += steps[FIRST_STEPS].count
            steps = steps[:FIRST_STEPS] + steps[FIRST_STEPS + 1 :]
        return Path(steps=steps, dropped=dropped)


EMPTY = Path()


def dump_path(path: Path) -> str:
    """Return it as JSON; "" for one without steps."""
    if not path.steps:
        return ""
    steps = [
        {
            "provider": step.target.provider,
            "model": step.target.model,
            "what": step.what,
            "why": step.why,
            "at_ms": step.at_ms,
            "count": step.count,
        }
        for step in path.steps
    ]
    return orjson.dumps({"steps": steps, "dropped": path.dropped}).decode()


def load_path(text: str) -> Path:
    """Return what `dump_path` made a text of."""
    if not text:
        return Path()
    given = orjson.loads(text)
    return Path(steps=tuple(map(_step, given["steps"])), dropped=given["dropped"])


def _step(given: dict[str, Any]) -> Step:
    return Step(
        target=Target(provider=given["provider"], model=given["model"]),
        what=What(given["what"]),
        why=given["why"],
        at_ms=given["at_ms"],
        count=given["count"],
    )


def _is_repeated(last: Step, step: Step) -> bool:
    return (last.target, last.what, last.why) == (step.target, step.what, step.why)


def _cut(why: str) -> str:
    return why if len(why) <= LONGEST_WHY else why[: LONGEST_WHY - 1] + "…"
