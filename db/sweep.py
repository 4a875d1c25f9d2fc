"""The sweep: puts right what died half-way. Every step may run at any time, by anyone, twice.

One owner at a time keeps it cheap, not correct: each step locks what it mends and asks again whether it still
needs mending.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import orjson
import structlog
from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.failpoints import Failpoint, reached
from batchmill.providers.base import WORKER_LOST, Reply, Verdict
from batchmill.requests.ids import request_id
from batchmill.requests.model import BatchState, CacheMode, OnUnknown, RequestState
from batchmill.requests.work import Attempt, BatchFacts, Job, Outcome
from db import attempts, batches, circuits, claims, flights, hosted, requests, set_back
from db import settle as settling
from db.budgets import waiting
from db.engine import Database, Transaction
from db.tables import claims as claim_rows
from db.tables import sweeps

log = structlog.get_logger()

NAME = "sweep"
CLAIMS_A_STEP = 20
ROWS_A_STEP = 2_000
FLIGHTS_A_STEP = 200
LOOK_UPS_A_SWEEP = 20
"""So many steps of lines are looked up in a sweep for each batch that waits for a budget."""
ABANDONED_AFTER_MS = 3_600_000
OWNER_LEASE_MS = 5_000
"""After this long another may sweep as well: the owner was killed, or has much to do and can use the help."""

LOST = Reply(
    verdict=Verdict.UNKNOWN,
    error_code=WORKER_LOST,
    error_message="the worker that made this call was lost; the provider may have answered and billed it",
)

_expired = (
    select(claim_rows)
    .where(claim_rows.c.lease_until_ms <= bindparam("now_ms"))
    .order_by(claim_rows.c.id)
    .limit(CLAIMS_A_STEP)
    .with_for_update(skip_locked=True)
)
_named = (
    select(claim_rows)
    .where(claim_rows.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(claim_rows.c.id)
    .with_for_update(skip_locked=True)
)


class Judging(Protocol):
    """Decides what becomes of a request after a reply."""

    def judge(self, attempt: Attempt, reply: Reply) -> Outcome:
        """What becomes of an attempt and its request after this reply."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep found.

    Attributes:
        lost_claims: Claims taken back from workers that let their lease run out.
        unknown_attempts: Calls among them that may have been billed.
        to_ring: Lanes with claimable work: a batch of each, and how many of its requests are fresh.
    """

    lost_claims: int
    unknown_attempts: int
    to_ring: dict[str, tuple[int, int]]


def sweep(database: Database, judge: Judging, owner: str) -> Swept | None:
    """One round of all steps; None when another owner is at it."""
    if not _own(database, owner):
        return None
    lost, unknown = _take_back_expired(database, judge)
    free_stranded(database)
    database.persist(circuits.tidy)
    resume_affordable(database)
    _answer_waiting(database)
    _end_overdue(database)
    _discard_abandoned(database)
    finish_undelivered(database)
    with database.write() as tx:
        to_ring = claims.lanes_with_work(tx)
        _end(tx, owner)
    return Swept(lost_claims=lost, unknown_attempts=unknown, to_ring=to_ring)


def _own(database: Database, owner: str) -> bool:
    with database.write() as tx:
        latest_ms = _latest_ms(tx)
        insert = postgresql.insert if tx.dialect == "postgresql" else sqlite.insert
        until_ms = sweeps.c.lease_until_ms
        # One that lasts longer than any can is of before a clock was set back.
        is_free = (until_ms <= tx.now_ms) | (until_ms > tx.now_ms + OWNER_LEASE_MS)
        taking = insert(sweeps).values(name=NAME, owner=owner, lease_until_ms=tx.now_ms + OWNER_LEASE_MS)
        taken = taking.on_conflict_do_update(
            index_elements=["name"],
            set_={"owner": owner, "lease_until_ms": tx.now_ms + OWNER_LEASE_MS},
            where=is_free | (sweeps.c.owner == owner),
        ).returning(sweeps.c.name)
        is_ours = bool(tx.rows(taken))
        if is_ours and (by_ms := set_back.mend(tx, latest_ms)):
            tx.run(update(sweeps).where(sweeps.c.owner == owner).values(last_ended_ms=tx.now_ms))
            log.warning("clock_set_back", by_s=by_ms / 1000)
        return is_ours


def _end(tx: Transaction, owner: str) -> None:
    """Let go of the sweep. If the clock was set back meanwhile, it ended when it had begun: the next one finds out."""
    tx.run(
        update(sweeps)
        .where(sweeps.c.owner == owner)
        .values(lease_until_ms=0, last_ended_ms=max(tx.now_ms, _latest_ms(tx)))
    )


def _latest_ms(tx: Transaction) -> int:
    """The latest moment that a sweep is known to have been at work: it ended, or is not over and began."""
    found = tx.rows(select(sweeps).where(sweeps.c.name == NAME).with_for_update())
    return max((max(row.last_ended_ms or 0, row.lease_until_ms - OWNER_LEASE_MS) for row in found), default=0)


def _take_back_expired(database: Database, judge: Judging) -> tuple[int, int]:
    lost = unknown = 0
    while True:
        claims_lost, calls = database.persist(
            lambda tx: _take_back(tx, tx.rows(_expired, now_ms=tx.now_ms), judge)
        )
        lost, unknown = lost + claims_lost, unknown + calls
        if claims_lost < CLAIMS_A_STEP:
            return lost, unknown


def take_back(database: Database, claim_ids: Sequence[int], judge: Judging) -> int:
    """Take back the claims of dead workers without waiting for their leases; how many calls are unknown."""
    unknown = 0
    for first in range(0, len(claim_ids), CLAIMS_A_STEP):
        ids = list(claim_ids[first : first + CLAIMS_A_STEP])
        unknown += database.persist(partial(_take_back_named, ids=ids, judge=judge))[1]
    return unknown


def _take_back_named(tx: Transaction, *, ids: list[int], judge: Judging) -> tuple[int, int]:
    return _take_back(tx, tx.rows(_named, ids=ids), judge)


def _take_back(tx: Transaction, lost: Sequence[Any], judge: Judging) -> tuple[int, int]:
    """What had been sent is unknown, and tried again or not; what had not been sent is claimable at once.

    How many claims that were, and how many calls are unknown.
    """
    facts = {id_: _facts(row) for id_, row in batches.rows(tx, [claim.batch_id for claim in lost]).items()}
    outcomes: list[Outcome] = []
    unsent: list[Job] = []
    for claim in lost:
        ids = orjson.loads(claim.request_ids)
        held = {row.id: row for row in requests.still_claimed(tx, claim.id, ids)}
        sent = {attempt.request_id: attempt for attempt in attempts.sent_under(tx, claim.id, ids)}
        jobs = {id_: claims.job_of(row, facts[claim.batch_id], claim.id) for id_, row in held.items()}
        unsent += [jobs[id_] for id_ in held if id_ not in sent]
        outcomes += [judge.judge(_attempt(row, jobs[id_]), LOST) for id_, row in sent.items() if id_ in jobs]
    settling.settle(tx, outcomes, unsent)
    if lost:
        reached(Failpoint.IN_SWEEP)
    claims.drop(tx, [claim.id for claim in lost])
    return len(lost), len(outcomes)


def _facts(batch: Any) -> BatchFacts:
    """Whoever waited for a direct request has lost it with its worker: it is worth no second call."""
    facts = claims.facts_of(batch)
    return replace(facts, on_unknown=OnUnknown.FAIL) if batch.is_direct else facts


def _attempt(row: Any, job: Job) -> Attempt:
    return Attempt(id=row.id, job=job, number=row.number, provider=row.provider, model=row.model)


def free_stranded(database: Database) -> None:
    """Let others lead who wait behind requests that will not be called for any more."""

    def free(tx: Transaction) -> None:
        for key in flights.stranded(tx, FLIGHTS_A_STEP):
            flights.promote(tx, key)

    database.persist(free)


def resume_affordable(database: Database) -> None:
    """Let batches go on whose budget has room again: a new day has begun, the limit was raised."""
    with database.read() as tx:
        may_go_on = waiting.with_room(tx, batches.waiting_for_budgets(tx))
    if may_go_on:
        with database.write() as tx:
            for batch in may_go_on:
                batches.resume(tx, batch, only_waiting=True)


def _answer_waiting(database: Database) -> None:
    """Answer what the cache can of batches that wait for a budget: that costs nothing, so it is worth no waiting."""
    with database.read() as tx:
        found = batches.waiting_for_budgets(tx)
    for batch in [row.id for row in found if row.cache != CacheMode.OFF and batches.has_new_lines(row)]:
        for _ in range(LOOK_UPS_A_SWEEP):
            if not database.persist(partial(_answer_waiting_step, batch=batch)):
                break


def _answer_waiting_step(tx: Transaction, *, batch: int) -> bool:
    """Look up the next lines of one; whether there were any."""
    row = batches.lock_waiting(tx, batch)
    if row is None:
        return False
    done = max(row.cursor, row.looked_up_to)
    last = min(done + ROWS_A_STEP, row.total)
    answered = claims.answer_fresh(tx, row, request_id(batch, done + 1), request_id(batch, last))
    batches.note_looked_up(tx, batch, last)
    if answered:
        batches.count(tx, {batch: {**answered, "cached": answered.total()}})
    return True


def _end_overdue(database: Database) -> None:
    with database.write() as tx:
        hosted.expire_unread(tx)
        for batch in batches.overdue(tx):
            batches.cancel(tx, batch.id, BatchState.EXPIRED)
        ending = batches.cancelling(tx)
    for batch in ending:
        end_idle(database, batch.id, BatchState(batch.final_state))


def end_idle(database: Database, batch: int, final_state: BatchState) -> None:
    """End every request of a cancelling batch that nobody holds, in short steps."""
    to = RequestState.EXPIRED if final_state is BatchState.EXPIRED else RequestState.CANCELLED
    with database.read() as tx:
        total = batches.rows(tx, [batch])[batch].total
    for place in range(1, total + 1, ROWS_A_STEP):
        first, last = request_id(batch, place), request_id(batch, min(place + ROWS_A_STEP - 1, total))
        database.persist(partial(_end_idle_step, batch=batch, first=first, last=last, to=to))
    database.persist(lambda tx: flights.drop_unled(tx, *requests.span(batch)))


def _end_idle_step(tx: Transaction, *, batch: int, first: int, last: int, to: RequestState) -> None:
    ended = requests.end_idle(tx, first, last, to)
    if ended:
        batches.count(tx, {batch: {to.value: ended}})


def _discard_abandoned(database: Database) -> None:
    with database.read() as tx:
        left = batches.abandoned(tx, ABANDONED_AFTER_MS)
    for batch in left:
        discard(database, batch.id, "its ingest was abandoned")


def finish_undelivered(database: Database) -> None:
    """A batch that owes nobody files has ended with its last request."""
    with database.write() as tx:
        for batch in batches.undelivered(tx):
            batches.finish(tx, batch.id)


def discard(database: Database, batch: int, reason: str) -> None:
    """Fail a batch that never started, and delete its rows in short steps; one that has started is left alone."""
    with database.write() as tx:
        if not batches.reject(tx, batch, reason):
            return
    while True:
        with database.write() as tx:
            if requests.discard(tx, batch, ROWS_A_STEP) < ROWS_A_STEP:
                batches.forget(tx, batch)
                return
