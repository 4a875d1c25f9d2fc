"""Requests and their inputs: what was asked, in which state each line is, what answers it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, func, select, update

from batchmill.requests.ids import MAX_PLACES, request_id
from batchmill.requests.model import RequestState
from batchmill.requests.work import FIRST, Job
from db.bulk import INT, STR, bulk_update
from db.engine import Database, Transaction
from db.load import Load
from db.prepared import Prepared, among
from db.tables import answers, inputs, requests, word

PAGE = 1_000
PAGE_BYTES = 32_000_000
"""What a page of answers is to hold at most, going by the page before."""

_INPUT = ("request_id", "batch_id", "line", "custom_id", "provider", "model", "body", "routing")
_load_inputs = Load(inputs, {name: name for name in _INPUT})
_REQUEST = ("batch_id", "cache_key", "request_type", "is_auto")
_load_requests = Load(requests, {"id": "request_id"} | {name: name for name in _REQUEST})
_move = bulk_update(
    {
        "id": INT,
        "claim_id": INT,
        "state": STR,
        "next_run_ms": INT,
        "attempts": INT,
        "tries": INT,
        "throttles": INT,
        "retry_reason": STR,
        "answer_id": INT,
    },
    lambda row: (
        update(requests)
        .where(
            requests.c.id == row["id"],
            requests.c.claim_id == row["claim_id"],
            requests.c.state == word(RequestState.CLAIMED),
        )
        .values(
            state=row["state"],
            claim_id=None,
            next_run_ms=row["next_run_ms"],
            attempts=row["attempts"],
            tries=row["tries"],
            throttles=row["throttles"],
            retry_reason=row["retry_reason"],
            answer_id=row["answer_id"],
        )
    ),
)


_questions = Prepared(
    select(inputs.c.request_id, inputs.c.provider, inputs.c.model, inputs.c.body, inputs.c.routing).where(
        among(inputs.c.request_id, "ids")
    )
)
_of_batch = requests.c.id.between(bindparam("first"), bindparam("last"))
_still_claimed = select(
    requests.c.id,
    requests.c.cache_key,
    requests.c.attempts,
    requests.c.tries,
    requests.c.throttles,
    requests.c.retry_reason,
    requests.c.request_type,
    requests.c.is_auto,
).where(
    requests.c.id.in_(bindparam("ids", expanding=True)),
    requests.c.claim_id == bindparam("claim"),
    requests.c.state == word(RequestState.CLAIMED),
)
_is_idle = requests.c.state.in_([RequestState.PENDING, RequestState.WAITING])
_ended_now: dict[str, Any] = {"state": bindparam("to"), "next_run_ms": None}
# On PostgreSQL a row may be answered, or woken to lead, while we look: the lock asks again, and waits for nobody.
_end_idle = {
    "sqlite": update(requests).where(_of_batch, _is_idle).values(_ended_now),
    "postgresql": update(requests)
    .where(
        requests.c.id.in_(
            select(
                select(requests.c.id)
                .where(_of_batch, _is_idle)
                .order_by(requests.c.id)
                .with_for_update(skip_locked=True)
                .cte("idle")
                .prefix_with("MATERIALIZED")
                .c.id
            )
        ),
        _is_idle,
    )
    .values(_ended_now),
}
RESULTS = (
    select(
        requests.c.id,
        requests.c.state,
        inputs.c.custom_id,
        answers.c.status_code,
        answers.c.body,
        answers.c.error_code,
        answers.c.error_message,
        answers.c.provider_request_id,
        inputs.c.provider.label("asked_provider"),
        inputs.c.model.label("asked_model"),
        func.coalesce(answers.c.provider, "").label("provider"),
        func.coalesce(answers.c.model, "").label("model"),
    )
    .join_from(requests, inputs, inputs.c.request_id == requests.c.id)
    .join(answers, answers.c.id == requests.c.answer_id, isouter=True)
)
"""Requests with their answers."""
_named = (
    select(
        *requests.c,
        inputs.c.line,
        inputs.c.custom_id,
        inputs.c.provider,
        inputs.c.model,
        inputs.c.body,
        inputs.c.routing,
        answers.c.provider.label("answer_provider"),
        answers.c.model.label("answer_model"),
        answers.c.error_code,
        answers.c.error_message,
    )
    .join_from(requests, inputs, inputs.c.request_id == requests.c.id)
    .join(answers, answers.c.id == requests.c.answer_id, isouter=True)
    .where(_of_batch, inputs.c.custom_id == bindparam("custom_id"))
)
_LINE = (requests.c.id, inputs.c.provider, inputs.c.model, inputs.c.routing)
_of_line = inputs.c.request_id == requests.c.id
_to_come = (
    select(*_LINE)
    .join_from(requests, inputs, _of_line)
    .where(requests.c.batch_id == bindparam("batch"), requests.c.next_run_ms.is_not(None))
    .order_by(requests.c.next_run_ms)
    .limit(bindparam("most", type_=INT))
)
_in_hand = (
    select(*_LINE)
    .join_from(requests, inputs, _of_line)
    .where(
        requests.c.id.in_(bindparam("ids", expanding=True)),
        requests.c.state == word(RequestState.CLAIMED),
    )
)
_results = (
    RESULTS.where(requests.c.id > bindparam("after"), requests.c.id <= bindparam("last"))
    .order_by(requests.c.id)
    .limit(bindparam("most", type_=INT))
)


def span(batch: int) -> tuple[int, int]:
    """The lowest and highest number that requests of a batch may have."""
    return request_id(batch, 1), request_id(batch, MAX_PLACES)


def add(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert inputs and their pending requests.

    Args:
        rows: `request_id, batch_id, line, custom_id, provider, model, body (JSON text), routing, cache_key,
            request_type, is_auto`.
    """
    if rows:
        _load_inputs.run(tx.connection, rows)
        _load_requests.run(tx.connection, rows)


def questions(tx: Transaction, ids: Sequence[int]) -> Sequence[Any]:
    """What these requests ask, and of whom: rows of (request_id, provider, model, body, routing)."""
    return tx.rows(_questions, ids=list(ids)) if ids else []


def named(tx: Transaction, batch: int, custom_id: str) -> Any | None:
    """A request of a batch with what it asks and the head of its answer, by its line's name; looked for line by line,
    as there is no index of names."""
    first, last = span(batch)
    found = tx.rows(_named, first=first, last=last, custom_id=custom_id)
    return found[0] if found else None


def to_come(tx: Transaction, batch: int, most: int) -> Sequence[Any]:
    """Up to so many requests of a batch that were claimed before and are to be claimed again, the soonest first: rows
    of (id, provider, model, routing)."""
    return tx.rows(_to_come, batch=batch, most=most)


def in_hand(tx: Transaction, ids: Sequence[int]) -> Sequence[Any]:
    """Those of these requests that a worker has in hand: rows of (id, provider, model, routing)."""
    return tx.rows(_in_hand, ids=list(ids)) if ids else []


def move(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Take claimed requests out of their claims into their next state.

    Args:
        rows: `id, claim_id, state, next_run_ms, attempts, tries, throttles, retry_reason, answer_id`.

    Raises:
        RuntimeError: One of them was no longer in its claim, although the claim stands: a bug. Nothing is written.
    """
    moved = tx.bulk(_move, rows)
    if moved != len(rows):
        raise RuntimeError(f"{len(rows) - moved} requests left a claim that stands; nothing was written")


def row_of(
    job: Job, state: RequestState, *, next_run_ms: int | None = None, answer_id: int | None = None
) -> dict[str, Any]:
    """A row for `move`: a job that leaves its claim without a call having ended."""
    return {
        "id": job.request_id,
        "claim_id": job.claim_id,
        "state": state,
        "next_run_ms": next_run_ms,
        "attempts": job.attempts,
        "tries": job.tries,
        "throttles": job.throttles,
        "retry_reason": "" if job.reason == FIRST else job.reason,
        "answer_id": answer_id,
    }


def still_claimed(tx: Transaction, claim: int, ids: Sequence[int]) -> Sequence[Any]:
    """Those of the ids that are still in that claim, with their counts."""
    return tx.rows(_still_claimed, claim=claim, ids=list(ids)) if ids else []


def end_idle(tx: Transaction, first: int, last: int, to: RequestState) -> int:
    """End the requests in this range that nobody holds, in that state; how many."""
    return tx.run(_end_idle[tx.dialect], first=first, last=last, to=to)


def count_by_state(tx: Transaction, batch: int) -> dict[RequestState, int]:
    """How many requests of a batch are in each state, counted row by row."""
    first, last = span(batch)
    counted = (
        select(requests.c.state, func.count().label("times")).where(_of_batch).group_by(requests.c.state)
    )
    return {RequestState(row.state): row.times for row in tx.rows(counted, first=first, last=last)}


def duplicates(tx: Transaction, batch: int, most: int | None = None) -> Sequence[Any]:
    """Inputs of a batch whose custom_id an earlier line has, up to so many: rows of (line, custom_id, first_line), by
    line."""
    first, last = span(batch)
    nth = func.row_number().over(partition_by=inputs.c.custom_id, order_by=inputs.c.line)
    first_line = func.min(inputs.c.line).over(partition_by=inputs.c.custom_id)
    numbered = (
        select(inputs.c.line, inputs.c.custom_id, nth.label("nth"), first_line.label("first_line"))
        .where(inputs.c.request_id.between(first, last))
        .subquery()
    )
    again = select(numbered.c.line, numbered.c.custom_id, numbered.c.first_line).where(numbered.c.nth > 1)
    return tx.rows(again.order_by(numbered.c.line).limit(most))


def results(database: Database, batch: int) -> Iterator[Any]:
    """The requests of a batch with their answers, in input order, a page at a time: no long read, flat memory.

    A page holds fewer rows the larger their answers are.
    """
    first, last = span(batch)
    after, most = first - 1, PAGE // 10
    while True:
        with database.read() as tx:
            page = tx.rows(_results, after=after, last=last, most=most)
        yield from page
        if len(page) < most:
            return
        after, size = page[-1].id, sum(len(row.body or "") for row in page)
        most = min(PAGE, 2 * most, max(1, len(page) * PAGE_BYTES // max(1, size)))


def discard(tx: Transaction, batch: int, most: int) -> int:
    """Delete up to `most` inputs and requests of a batch that never started; how many."""
    first, last = span(batch)
    doomed = [
        row.id
        for row in tx.rows(
            select(requests.c.id).where(_of_batch).order_by(requests.c.id).limit(most), first=first, last=last
        )
    ]
    if doomed:
        tx.run(inputs.delete().where(inputs.c.request_id.between(doomed[0], doomed[-1])))
        tx.run(requests.delete().where(requests.c.id.between(doomed[0], doomed[-1])))
    return len(doomed)
