"""The path of a request: whom it was to go to, whom it went to, and why, as its owner may read it afterwards."""

from collections.abc import Sequence
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
        """Return the path with one more step; one that only repeats what just was is counted there."""
        step = replace(step, why=_cut(step.why))
        place = self._place_of_repeated(step)
        if place is not None:
            again = replace(self.steps[place], count=self.steps[place].count + step.count)
            return replace(self, steps=(*self.steps[:place], again, *self.steps[place + 1 :]))
        steps, dropped = (*self.steps, step), self.dropped
        if len(steps) > MOST_STEPS:
            place = _place_to_drop(steps)
            dropped += steps[place].count
            steps = steps[:place] + steps[place + 1 :]
        return Path(steps=steps, dropped=dropped)

    def _place_of_repeated(self, step: Step) -> int | None:
        """Where the same step is: the last, or among the last ones if they all tell who could not be asked."""
        for place in range(len(self.steps) - 1, -1, -1):
            if _is_repeated(self.steps[place], step):
                return place
            if step.what is not What.SKIPPED or self.steps[place].what is not What.SKIPPED:
                return None
        return None


EMPTY = Path()


def dump_path(path: Path) -> str:
    """Return it as JSON; "" for one without steps. A step is `[provider, model, what, why, at_ms, count]`: there may be
    millions of paths, and names of fields would be most of them."""
    if not path.steps:
        return ""
    steps = [
        [step.target.provider, step.target.model, step.what, step.why, step.at_ms, step.count]
        for step in path.steps
    ]
    return orjson.dumps({"steps": steps, "dropped": path.dropped}).decode()


def load_path(text: str) -> Path:
    """Return what `dump_path` made a text of."""
    if not text:
        return Path()
    given = orjson.loads(text)
    return Path(steps=tuple(map(_step, given["steps"])), dropped=given["dropped"])


def _step(given: Sequence[Any]) -> Step:
    provider, model, what, why, at_ms, count = given
    return Step(
        target=Target(provider=provider, model=model), what=What(what), why=why, at_ms=at_ms, count=count
    )


def _place_to_drop(steps: Sequence[Step]) -> int:
    """The oldest of those that are not the first; who has been given up is never forgotten while others are there."""
    places = range(FIRST_STEPS, len(steps) - 1)
    return next((place for place in places if steps[place].what is not What.TRIED), FIRST_STEPS)


def _is_repeated(last: Step, step: Step) -> bool:
    return (last.target, last.what, last.why) == (step.target, step.what, step.why)


def _cut(why: str) -> str:
    return why if len(why) <= LONGEST_WHY else why[: LONGEST_WHY - 1] + "…"
