"""Attempts: one row for every call, written and committed before the call is made."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.requests.model import AttemptState
from batchmill.requests.work import Job, Outcome
from batchmill.routing.names import Target
from db.budgets.holds import Held, held_on
from db.bulk import INT, STR, bulk_update, rows_of
from db.engine import Transaction
from db.prepared import Prepared, among
from db.tables import attempts, word

_columns = {
    "request_id": INT,
    "number": INT,
    "claim_id": INT,
    "worker_id": STR,
    "provider": STR,
    "model": STR,
    "state": STR,
    "reason": STR,
    "sent_ms": INT,
    "hold_nanos": INT,
    "held_on": STR,
}


def _send_statement(dialect: str) -> Any:
    given = rows_of(dialect, _columns)
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    source = select(*given.c).where(given.c.request_id.is_not(None))  # SQLite: see flights
    return (
        insert(attempts)
        .from_select(list(_columns), source)
        .on_conflict_do_nothing(index_elements=["request_id", "number"])
        .returning(attempts.c.id, attempts.c.request_id)
    )


_send = Prepared(_send_statement)
_sent_before = select(attempts.c.id, attempts.c.request_id).where(
    tuple_(attempts.c.request_id, attempts.c.number).in_(bindparam("calls", expanding=True)),
    attempts.c.claim_id.in_(bindparam("claims", expanding=True)),
    attempts.c.worker_id == bindparam("worker"),
    attempts.c.state == AttemptState.SENT,
)
_end = bulk_update(
    {"id": INT, "state": STR, "cost_nanos": INT, "error": STR},
    lambda row: (
        update(attempts)
        .where(attempts.c.id == row["id"])
        .values(
            state=row["state"],
            cost_nanos=row["cost_nanos"],
            error=row["error"],
            ended_ms=bindparam("at_ms", type_=INT),
        )
    ),
)
_in_state = Prepared(
    select(attempts.c.id, attempts.c.hold_nanos, attempts.c.held_on, attempts.c.sent_ms)
    .where(among(attempts.c.id, "ids"), attempts.c.state == bindparam("state"))
    .order_by(attempts.c.id)
    .with_for_update()
)
_sent_under = select(attempts).where(
    attempts.c.request_id.in_(bindparam("requests", expanding=True)),
    attempts.c.claim_id == bindparam("claim"),
    attempts.c.state == AttemptState.SENT,
)
_calls_of = Prepared(
    select(attempts.c.request_id, attempts.c.provider, attempts.c.model, func.count().label("times"))
    .where(among(attempts.c.request_id, "requests"))
    .group_by(attempts.c.request_id, attempts.c.provider, attempts.c.model)
)
_unknown_of = select(attempts).where(attempts.c.state == word(AttemptState.UNKNOWN))


def send(
    tx: Transaction, sends: Sequence[tuple[Job, Held]], worker_id: str
) -> tuple[dict[int, int], set[int]]:
    """Record a call for each job and what is held for it: its attempt's id by request id, and which of them are new.

    The same send recorded again finds its attempt, and never makes a second one.
    """
    if not sends:
        return {}, set()
    jobs = [job for job, _ in sends]
    table = [
        {
            "request_id": job.request_id,
            "number": job.attempts + 1,
            "claim_id": job.claim_id,
            "worker_id": worker_id,
            "provider": held.candidate.provider,
            "model": held.candidate.model,
            "state": AttemptState.SENT,
            "reason": job.reason,
            "sent_ms": tx.now_ms,
            "hold_nanos": held.nanos,
            "held_on": held_on(held.periods),
        }
        for job, held in sends
    ]
    made = {row.request_id: row.id for row in tx.bulk_rows(_send, table)}
    again = [job for job in jobs if job.request_id not in made]
    if not again:
        return made, set(made)
    found = tx.rows(
        _sent_before,
        calls=[(job.request_id, job.attempts + 1) for job in again],
        claims=sorted({job.claim_id for job in again}),
        worker=worker_id,
    )
    return {row.request_id: row.id for row in found} | made, set(made)


def end(tx: Transaction, outcomes: Sequence[Outcome], from_state: AttemptState) -> dict[int, Any]:
    """Move attempts out of `from_state` into what became of them; the rows, as they were, of those that were in it.

    The rows have `id, hold_nanos, held_on, sent_ms`.
    """
    if not outcomes:
        return {}
    ids = [outcome.attempt.id for outcome in outcomes]
    found = {row.id: row for row in tx.rows(_in_state, ids=ids, state=from_state)}
    table = [
        {
            "id": outcome.attempt.id,
            "state": outcome.attempt_state,
            "cost_nanos": outcome.cost.nanos,
            "error": outcome.reply.error_code,
        }
        for outcome in outcomes
        if outcome.attempt.id in found
    ]
    tx.bulk(_end, table, at_ms=tx.now_ms)
    return found


def sent_under(tx: Transaction, claim: int, request_ids: Sequence[int]) -> Sequence[Any]:
    """The calls of these requests that were sent under a claim and have not ended."""
    return tx.rows(_sent_under, requests=list(request_ids), claim=claim) if request_ids else []


def calls_of(tx: Transaction, requests: Sequence[int]) -> dict[int, dict[Target, int]]:
    """How many calls were made for each of these requests to each model."""
    calls: dict[int, dict[Target, int]] = {}
    for row in tx.rows(_calls_of, requests=list(requests)) if requests else ():
        calls.setdefault(row.request_id, {})[Target(provider=row.provider, model=row.model)] = row.times
    return calls


def of_request(tx: Transaction, request: int) -> Sequence[Any]:
    """Every call of a request, the first one first."""
    return tx.rows(select(attempts).where(attempts.c.request_id == request).order_by(attempts.c.number))


def oldest_in_flight(tx: Transaction, first: int, last: int) -> int | None:
    """When the oldest call of a range of requests was sent that has not ended; None without one."""
    in_flight = select(func.min(attempts.c.sent_ms)).where(
        attempts.c.request_id.between(first, last), attempts.c.state == AttemptState.SENT
    )
    found: int | None = tx.rows(in_flight)[0][0]
    return found


def unknown(tx: Transaction, first: int, last: int) -> Sequence[Any]:
    """The attempts of a range of requests that may have been billed without our knowing."""
    return tx.rows(_unknown_of.where(attempts.c.request_id.between(first, last)).order_by(attempts.c.id))
