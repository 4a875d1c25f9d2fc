"""Reconciling: calls of which nobody knows what they cost are settled, by a provider's evidence or by their owner's
word."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any, BinaryIO

from batchmill.budgets.evidence import BadEvidence, Evidence, read_evidence
from batchmill.errors import ConflictError, InvalidLinesError, NotFoundError
from batchmill.money.nanos import usd_text
from batchmill.requests.ids import CallName, client_request_id, request_id
from batchmill.requests.model import AttemptState
from db import sweep
from db.audit.witness import Recorded, recorded
from db.budgets import unknowns
from db.budgets.unknowns import Selection, Settled
from db.engine import Database

CALLS_A_STEP = 500
EXAMPLES = 10


class Word(StrEnum):
    """What the owner says of calls that are unknown."""

    HOLD = "hold"
    """They cost what was held for them: the most that they could."""
    FREE = "free"
    """They were not billed."""


@dataclass(slots=True)
class Reconciled:
    """What came of it.

    Attributes:
        known: Calls whose cost was known already, and is what the evidence says.
        known_otherwise: Calls whose cost was known already, and is another: what is known stays.
        unpriced: Calls that were answered, but at a price that is not known: they are not unknown.
        in_flight: Calls that have not ended.
        not_ours: Names under which there is no call here.
        without_hold: Calls for which nothing was held, so that their hold cannot be their cost.
        overtaken: Calls that somebody else settled meanwhile.
        examples: Some of those that were left alone, and why.
    """

    settled: Settled = field(default_factory=Settled)
    known: int = 0
    known_otherwise: int = 0
    unpriced: int = 0
    in_flight: int = 0
    not_ours: int = 0
    without_hold: int = 0
    overtaken: int = 0
    examples: list[str] = field(default_factory=list)

    def leave(self, why: str) -> None:
        """Remember one that is left alone."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(why)


class _OnlyTriedError(Exception):
    """Ends a transaction that was only tried."""


def by_evidence(
    database: Database, stream: BinaryIO, *, on_bad_line: Callable[[BadEvidence], None], is_dry: bool = False
) -> Reconciled:
    """Settle what a provider has said of its calls; read twice, so that of bad evidence nothing is taken at all.

    Honest weakness: a dry run counts a call again that the evidence names again further down than a step.

    Args:
        stream: Can be wound back.
        is_dry: Only find out what would come of it.

    Raises:
        InvalidLinesError: Some lines are no evidence. Nothing was settled.
        InputError: It is no evidence at all.
    """
    bad = 0
    for said in read_evidence(stream):
        if isinstance(said, BadEvidence):
            bad += 1
            on_bad_line(said)
    if bad:
        lines = "1 line is" if bad == 1 else f"{bad:,} lines are"
        raise InvalidLinesError(
            f"{lines} no evidence; nothing was settled", "correct the evidence, then run it again"
        )
    stream.seek(0)
    done = Reconciled()
    evidence = (said for said in read_evidence(stream) if isinstance(said, Evidence))
    while step := list(islice(evidence, CALLS_A_STEP)):
        _step(database, step, done, is_dry)
    return _ended(database, done, is_dry)


def by_hand(database: Database, call: CallName, cost_nanos: int, *, is_dry: bool = False) -> Reconciled:
    """Settle one call at a cost; at the one that is known already, that is done.

    Raises:
        NotFoundError: There is no such call.
        ConflictError: It has not ended, or was settled otherwise.
    """
    done = Reconciled()
    _step(database, [Evidence(line=0, call=call, cost_nanos=cost_nanos)], done, is_dry)
    if done.not_ours:
        raise NotFoundError(
            f"there is no call {_name(call)}", "`batchmill budget reconcile` lists those that are unknown"
        )
    if done.examples:
        raise ConflictError(
            done.examples[0], "only calls that `batchmill budget reconcile` lists can be settled"
        )
    return _ended(database, done, is_dry)


def by_word(database: Database, selection: Selection, word: Word, *, is_dry: bool = False) -> Reconciled:
    """Settle every unknown call of a selection as its owner says."""
    done, after = Reconciled(), (0, 0)
    while page := _page(database, selection, after):
        after = page[-1].request_id, page[-1].number
        costs: dict[int, int] = {}
        for row in page:
            if word is Word.FREE:
                costs[row.id] = 0
            elif row.held_on and row.hold_nanos:
                costs[row.id] = row.hold_nanos
            else:  # also 0 is no hold: that is what a call without a known price has
                done.without_hold += 1
                name = client_request_id(row.public_id, row.request_id, row.number)
                done.leave(f"nothing was held for {name}")
        _settle(database, costs, done, is_dry)
    return _ended(database, done, is_dry)


def _ended(database: Database, done: Reconciled, is_dry: bool) -> Reconciled:
    """Batches that wait for a budget go on, if that has room by now."""
    if not is_dry:
        sweep.resume_affordable(database)
    return done


def unknown_calls(database: Database, selection: Selection) -> Iterator[Any]:
    """Every unknown call of a selection, by line; rows as `db.budgets.unknowns.page` has them."""
    after = 0, 0
    while page := _page(database, selection, after):
        yield from page
        after = page[-1].request_id, page[-1].number


def _page(database: Database, selection: Selection, after: tuple[int, int]) -> Sequence[Any]:
    with database.read() as tx:
        return unknowns.page(tx, selection, after=after, most=CALLS_A_STEP)


def _step(database: Database, step: Sequence[Evidence], done: Reconciled, is_dry: bool) -> None:
    with database.read() as tx:
        found = recorded(tx, [said.call for said in step])
    costs: dict[int, int] = {}
    for said in step:
        attempt = found.get(said.call)
        if attempt is None:
            done.not_ours += 1
            done.leave(f"there is no call {_name(said.call)} here{_at(said)}")
        elif attempt.state is AttemptState.SENT:
            done.in_flight += 1
            done.leave(f"{_name(said.call)} has not ended{_at(said)}")
        elif attempt.state is AttemptState.SETTLED or attempt.id in costs:
            _compare(said, attempt, costs, done)
        else:
            costs[attempt.id] = said.cost_nanos
    _settle(database, costs, done, is_dry)


def _compare(said: Evidence, attempt: Recorded, costs: Mapping[int, int], done: Reconciled) -> None:
    known_nanos = costs.get(attempt.id, attempt.cost_nanos)
    if known_nanos is None:
        done.unpriced += 1
        done.leave(f"{_name(said.call)} was answered, at a price that is not known{_at(said)}")
    elif known_nanos == said.cost_nanos:
        done.known += 1
    else:
        done.known_otherwise += 1
        known, now = usd_text(known_nanos), usd_text(said.cost_nanos)
        done.leave(f"the cost of {_name(said.call)} is known already: ${known}, and not ${now}{_at(said)}")


def _settle(database: Database, costs: Mapping[int, int], done: Reconciled, is_dry: bool) -> None:
    if not costs:
        return
    settled = _tried(database, costs) if is_dry else database.persist(lambda tx: unknowns.settle(tx, costs))
    done.settled.add(settled)
    done.overtaken += len(costs) - settled.calls


def _tried(database: Database, costs: Mapping[int, int]) -> Settled:
    """What would come of it: it is done, and taken back."""
    settled = Settled()
    with contextlib.suppress(_OnlyTriedError), database.write() as tx:
        settled = unknowns.settle(tx, costs)
        raise _OnlyTriedError
    return settled


def _at(said: Evidence) -> str:
    return f" (line {said.line})" if said.line else ""


def _name(call: CallName) -> str:
    return client_request_id(call.batch, request_id(0, call.place), call.number)
