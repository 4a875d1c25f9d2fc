"""Waiting: which models that are left alone keep a batch from going on.

It is told by the database alone, so that whoever watches needs no keys. Looked at are some lines that are in hand or
due next, and only while a model is left alone at all: that costs one look at a table that is mostly empty.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from batchmill.requests.model import BatchState
from batchmill.routing.circuits import Cause, Circuit, CircuitState, closed_until_ms
from batchmill.routing.names import Target
from batchmill.routing.path import EMPTY, Path, What
from batchmill.routing.resting import Resting, left_alone
from batchmill.routing.wants import load_wants, merged
from db import catalogue, circuits, claims, paths, requests
from db.engine import Database, Transaction

MOST_LINES = 100
"""So many lines are looked at of those in hand, and of those that come next."""

Fallbacks = Mapping[tuple[str, str], tuple[Target, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Whom the lines of a batch wait for.

    Attributes:
        resting: The models that are left alone, and that some lines cannot go on without.
        is_all: No line that was looked at can go on without one of them.
        now_ms: When that was so.
    """

    resting: tuple[Resting, ...] = ()
    is_all: bool = False
    now_ms: int = 0

    @property
    def in_words(self) -> str:
        """Whom and for how long; "" where nobody is waited for."""
        return "; ".join(f"{one.target.name} {one.in_words(self.now_ms)}" for one in self.resting)

    def is_in_vain(self, begun_ms: int) -> bool:
        """Whether all of it waits for those who did not answer since then, or have asked for the wait themselves.

        Who failed before that, and rests only for a while, is still to be tried once more.
        """
        return self.is_all and all(
            one.state is CircuitState.OPEN and (one.cause is not Cause.FAILING or one.since_ms >= begun_ms)
            for one in self.resting
        )


FOR_NOBODY = Waiting()


def waited_for(database: Database, batch: Any) -> Waiting:
    """Whom a batch waits for now.

    Args:
        batch: Its row.
    """
    if batch.state != BatchState.IN_PROGRESS:
        return FOR_NOBODY
    with database.read() as tx:
        known = circuits.read(tx)
        resting = left_alone(known, tx.now_ms)
        return _waiting(tx, batch, known, resting) if resting else FOR_NOBODY


def _waiting(
    tx: Transaction, batch: Any, known: Mapping[circuits.Key, Circuit], resting: Iterable[Resting]
) -> Waiting:
    lines = {row.id: row for row in requests.to_come(tx, batch.id, MOST_LINES)}
    lines |= {row.id: row for row in requests.in_hand(tx, claims.held_of(tx, batch.id, MOST_LINES))}
    walked = paths.of(tx, list(lines))
    fallbacks = {model.key: model.fallback for model in catalogue.entries(tx) if model.fallback}
    wants = load_wants(batch.routing)
    waits = []
    for row in lines.values():
        path = walked.get(row.id, EMPTY)
        if row.provider:
            asked = Target(provider=row.provider, model=row.model)
            own = merged(load_wants(row.routing), wants).fallback or fallbacks.get(asked.key, ())
            targets = _left_of((asked, *own), path)
        else:
            targets = _chosen(path, known.keys())
        waits.append(targets if _all_closed(targets, path, known, tx.now_ms) else ())
    names = {target for targets in waits for target in targets}
    return Waiting(
        resting=tuple(one for one in resting if one.target in names),
        is_all=bool(waits) and all(waits),
        now_ms=tx.now_ms,
    )


def _left_of(targets: Iterable[Target], path: Path) -> tuple[Target, ...]:
    """Whom of its chain a line can still be put to."""
    out = {step.target for step in path.steps if step.what in (What.TRIED, What.REJECTED)}
    return tuple(target for target in dict.fromkeys(targets) if target not in out)


def _chosen(path: Path, not_new: Iterable[circuits.Key]) -> tuple[Target, ...]:
    """Whom a line for any model was to go to; where nobody was left, those that it may go to after their rest."""
    stood_by = [step.target for step in path.steps if step.what in (What.CHOSEN, What.SKIPPED)]
    left = tuple(target for target in dict.fromkeys(stood_by) if target not in path.given_up)
    if left:
        return left
    keys = set(not_new)
    return tuple(step.target for step in path.steps if step.what is What.REJECTED and step.target.key in keys)


def _all_closed(
    targets: tuple[Target, ...], path: Path, known: Mapping[circuits.Key, Circuit], now_ms: int
) -> bool:
    """Whether no call goes to any of these."""
    is_lone = len(targets) == 1 and not path.given_up
    return all(
        target.key in known and closed_until_ms(known[target.key], now_ms, is_lone=is_lone) is not None
        for target in targets
    )
