"""Money: the ledger, the attempts and the batches say the same, to the nano-dollar."""

from typing import Any

from sqlalchemy import and_, case, func, literal, null, or_, select, union_all

from batchmill.money.nanos import usd_text
from batchmill.requests.model import AttemptState, RequestState
from db.audit.check import STARTED, Check, batch_of
from db.books import both
from db.ledger import CALL, CORRECTION, HIT
from db.tables import attempts, batches, ledger, requests

_books = both("batch_id", "cost_nanos", "hits")
_of_books = (
    select(
        func.coalesce(func.sum(_books.c.cost_nanos), 0).label("spent"),
        func.sum(_books.c.hits).label("hits"),
        _books.c.batch_id,
    )
    .group_by(_books.c.batch_id)
    .subquery("of_books")
)
_spent, _hits = func.coalesce(_of_books.c.spent, 0), func.coalesce(_of_books.c.hits, 0)
# Daily rows tell single requests no longer apart.
_is_told_apart = or_(~batches.c.is_direct, batches.c.rolled_ms.is_(None))

spent = Check(
    name="spent",
    invariant=7,
    promise="what a batch has spent, and its answers from the cache, are what the ledger says",
    broken=select(
        batches.c.id.label("batch_id"),
        batches.c.spent_nanos,
        batches.c.cached,
        _spent.label("spent"),
        _hits.label("hits"),
    )
    .join_from(batches, _of_books, _of_books.c.batch_id == batches.c.id, isouter=True)
    .where(STARTED, _is_told_apart, or_(batches.c.spent_nanos != _spent, batches.c.cached != _hits)),
    tell=lambda row: (
        f"${usd_text(row.spent_nanos)} on the batch, ${usd_text(int(row.spent))} in the ledger;"
        f" from the cache: {row.cached} and {int(row.hits)}"
    ),
)

# With either of them gone they can be compared no more.
_HAS_BOTH = and_(batches.c.removed_ms.is_(None), batches.c.rolled_ms.is_(None))


def _sides() -> Any:
    """Attempts and their entries below each other: added up by attempt, they can be compared, whichever is missing."""
    none, nothing = null(), literal(0)
    made = select(
        attempts.c.id.label("attempt"),
        attempts.c.request_id,
        attempts.c.number,
        attempts.c.state,
        attempts.c.cost_nanos.label("cost"),
        nothing.label("calls"),
        nothing.label("corrections"),
        none.label("entered"),
    )
    made = made.join_from(
        attempts, batches, batches.c.id == batch_of(attempts.c.request_id), isouter=True
    ).where(_HAS_BOTH)
    entered = (
        select(
            ledger.c.attempt_id,
            ledger.c.request_id,
            none,
            none,
            none,
            case((ledger.c.kind == CALL, 1), else_=0),
            case((ledger.c.kind == CORRECTION, 1), else_=0),
            ledger.c.cost_nanos,
        )
        .join_from(ledger, batches, batches.c.id == ledger.c.batch_id)
        .where(ledger.c.attempt_id.is_not(None), _HAS_BOTH)
    )
    return union_all(made, entered).subquery("sides")


_side = _sides().c
_state, _cost = func.max(_side.state), func.max(_side.cost)
_calls, _corrections = func.sum(_side.calls), func.sum(_side.corrections)
_times_entered, _entered = func.count(_side.entered), func.sum(_side.entered)
_is_right = or_(
    and_(_state == AttemptState.SENT, _calls == 0, _corrections == 0),
    and_(
        _state == AttemptState.UNKNOWN, _calls == 1, _corrections == 0, _times_entered == 0, _cost.is_(None)
    ),
    and_(
        _state == AttemptState.SETTLED,
        _calls == 1,
        _corrections <= 1,
        _times_entered == func.count(_side.cost),
        _entered.is_not_distinct_from(_cost),
    ),
)


def _tell_entries(row: Any) -> str:
    known = "unknown" if row.cost is None else f"${usd_text(int(row.cost))}"
    entered = "none" if row.entered is None else f"${usd_text(int(row.entered))}"
    return (
        f"the call is {row.state or 'not there'}, its cost {known};"
        f" the ledger has {row.calls} of it and {row.corrections} corrections, with the cost {entered}"
    )


entries = Check(
    name="ledger-entries",
    invariant=7,
    promise="every call that ended is entered once in the ledger, with its cost, and corrected at most once",
    broken=select(
        func.max(_side.request_id).label("request_id"),
        func.max(_side.number).label("number"),
        _state.label("state"),
        _cost.label("cost"),
        _calls.label("calls"),
        _corrections.label("corrections"),
        _entered.label("entered"),
    )
    .group_by(_side.attempt)
    .having(func.coalesce(~_is_right, True)),
    tell=_tell_entries,
)

hits = Check(
    name="hit-entries",
    invariant=7,
    promise="a line has ended by its own call or by another's answer, and the ledger says which",
    broken=select(ledger.c.request_id, func.count().label("times"), requests.c.state)
    .join_from(ledger, requests, requests.c.id == ledger.c.request_id)
    .where(ledger.c.kind == HIT)
    .group_by(ledger.c.request_id, requests.c.state)
    .having(or_(func.count() > 1, requests.c.state.not_in([RequestState.DONE, RequestState.FAILED]))),
    tell=lambda row: f"it is {row.state}, and the ledger has {row.times} hits of it",
)
