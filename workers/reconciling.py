"""Reconciling: calls of which nobody knows what they cost are settled, by a provider's evidence or by their owner's
word."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any, BinaryIO

from batchmill.budgets.evidence import BadEvidence, Evidence, read_evidence
from batchmill.errors import InvalidLinesError, NotFoundError
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
        otherwise: Calls whose cost was known already, and is another: what is known stays.
        in_flight: Calls that have not ended.
        not_ours: Names under which there is no call here.
        unheld: Calls for which nothing was held, so that their hold cannot be their cost.
        examples: Some of those that were left alone, and why.
    """

    settled: Settled = field(default_factory=Settled)
    known: int = 0
    otherwise: int = 0
    in_flight: int = 0
    not_ours: int = 0
    unheld: int = 0
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
    sweep.resume_affordable(database)
    return done


def by_hand(database: Database, call: CallName, cost_nanos: int, *, is_dry: bool = False) -> Reconciled:
    """Settle one call at a cost.

    Raises:
        NotFoundError: There is no such call.
    """
    done = Reconciled()
    _step(database, [Evidence(line=1, call=call, cost_nanos=cost_nanos)], done, is_dry)
    if done.not_ours:
        raise NotFoundError(
            f"there is no call {_name(call)}", "`batchmill budget reconcile` lists those that are unknown"
        )
    sweep.resume_affordable(database)
    return done


def by_word(database: Database, selection: Selection, word: Word, *, is_dry: bool = False) -> Reconciled:
    """Settle every unknown call of a selection as its owner says."""
    done, after = Reconciled(), (0, 0)
    while page := _page(database, selection, after):
        after = page[-1].request_id, page[-1].number
        costs: dict[int, int] = {}
        for row in page:
            if word is Word.HOLD and row.hold_nanos is None:
                done.unheld += 1
                done.leave(
                    f"{client_request_id(row.public_id, row.request_id, row.number)}: nothing was held"
                )
            else:
                costs[row.id] = 0 if word is Word.FREE else row.hold_nanos
        done.settled.add(_settle(database, costs, is_dry))
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
            done.leave(f"line {said.line}: there is no call {_name(said.call)} here")
        elif attempt.state is AttemptState.SENT:
            done.in_flight += 1
            done.leave(f"line {said.line}: {_name(said.call)} has not ended")
        elif attempt.state is AttemptState.SETTLED or attempt.id in costs:
            _compare(said, attempt, costs, done)
        else:
            costs[attempt.id] = said.cost_nanos
    done.settled.add(_settle(database, costs, is_dry))


def _compare(said: Evidence, attempt: Recorded, costs: Mapping[int, int], done: Reconciled) -> None:
    if costs.get(attempt.id, attempt.cost_nanos) == said.cost_nanos:
        done.known += 1
    else:
        done.otherwise += 1
        done.leave(f"line {said.line}: the cost of {_name(said.call)} is known already, and another")


def _settle(database: Database, costs: Mapping[int, int], is_dry: bool) -> Settled:
    if not costs:
        return Settled()
    if not is_dry:
        return database.persist(lambda tx: unknowns.settle(tx, costs))
    settled = Settled()
    with contextlib.suppress(_OnlyTriedError), database.write() as tx:
        settled = unknowns.settle(tx, costs)
        raise _OnlyTriedError
    return settled


def _name(call: CallName) -> str:
    return client_request_id(call.batch, request_id(0, call.place), call.number)
