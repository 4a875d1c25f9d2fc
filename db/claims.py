"""Claims: which worker may call for which requests, and until when.

A claim is a lease and nothing else. Its id is its fence: ids are never given out twice, every write to a
claimed request names the claim it was made under, and whoever takes a lost claim's requests back deletes the
claim in the same transaction.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import bindparam, delete, func, insert, select, update

from batchmill.budgets.model import OnLimit
from batchmill.providers.names import ProviderName
from batchmill.requests.ids import request_id
from batchmill.requests.model import BatchState, CacheMode, Endpoint, Lane, OnUnknown, RequestState
from batchmill.requests.work import FIRST, BatchFacts, Job
from batchmill.routing.wants import load_wants
from db import batches as batch_rows
from db import hits
from db.batches import claimable
from db.engine import Transaction
from db.prepared import Prepared, among
from db.shares import Offer, charge, of_batch
from db.tables import batches, claims, requests, shares, word

DEFAULT_PROVIDER = ProviderName.OPENAI.value
MOST_TURNS_A_CLAIM = 16
MOST_ANSWERED_A_CLAIM = 4_000
"""Lines that the cache answers take no room, but time: so many are 0.14 s on SQLite and 0.33 s on PostgreSQL, at the
pace that ADR 0021 measured on a busy machine."""

_state_of_batch = (
    select(batches.c.cursor, batches.c.looked_up_to, batches.c.total, batches.c.state)
    .join(shares, of_batch)
    .where(batches.c.id == bindparam("batch"))
)
# Whoever holds one batch and its share already waits for no second: two claims could wait for each other.
_lock_first = Prepared(_state_of_batch.with_for_update())
_lock_next = Prepared(_state_of_batch.with_for_update(skip_locked=True))
_advance = Prepared(update(batches).where(batches.c.id == bindparam("batch")).values(cursor=bindparam("to")))
_make = Prepared(
    insert(claims)
    .values(
        worker_id=bindparam("worker_id"),
        batch_id=bindparam("batch"),
        lease_until_ms=bindparam("until"),
        request_ids="[]",
    )
    .returning(claims.c.id)
)
_list = Prepared(update(claims).where(claims.c.id == bindparam("claim")).values(request_ids=bindparam("ids")))
_job_columns = (
    requests.c.id,
    requests.c.cache_key,
    requests.c.attempts,
    requests.c.tries,
    requests.c.throttles,
    requests.c.retry_reason,
    requests.c.request_type,
    requests.c.is_auto,
)
_taken: dict[str, Any] = {"state": RequestState.CLAIMED, "claim_id": bindparam("claim"), "next_run_ms": None}
_take_fresh = Prepared(
    update(requests)
    .where(
        requests.c.id.between(bindparam("first"), bindparam("last")),
        requests.c.state == word(RequestState.PENDING),
    )
    .values(_taken)
    .returning(*_job_columns)
)
_due = (
    select(requests.c.id)
    .where(requests.c.batch_id == bindparam("batch"), requests.c.next_run_ms <= bindparam("now_ms"))
    .order_by(requests.c.next_run_ms)
    .limit(bindparam("most"))
)
# MATERIALIZED: as a plain sub-select PostgreSQL may run it more than once and claim beyond the limit.
_take_due = {
    "sqlite": Prepared(
        update(requests).where(requests.c.id.in_(_due)).values(_taken).returning(*_job_columns)
    ),
    "postgresql": Prepared(
        update(requests)
        .where(
            requests.c.id.in_(
                select(_due.with_for_update(skip_locked=True).cte("due").prefix_with("MATERIALIZED").c.id)
            )
        )
        .values(_taken)
        .returning(*_job_columns)
    ),
}
_renew = (
    update(claims)
    .where(claims.c.id.in_(bindparam("ids", expanding=True)), claims.c.lease_until_ms > bindparam("now_ms"))
    .values(lease_until_ms=bindparam("until"))
    .returning(claims.c.id)
)
_lock = Prepared(
    select(claims.c.id, claims.c.lease_until_ms)
    .where(among(claims.c.id, "ids"))
    .order_by(claims.c.id)
    .with_for_update()
)
_delete = Prepared(delete(claims).where(among(claims.c.id, "ids")))


@dataclass(slots=True)
class Taken:
    """What a claim took.

    Attributes:
        jobs: Requests claimed.
        answered: How many more the cache has answered; they were not claimed, for nothing is left to be done.
    """

    jobs: list[Job] = field(default_factory=list)
    answered: int = 0

    @property
    def lines(self) -> int:
        """How many lines that are in all."""
        return len(self.jobs) + self.answered


def take(
    tx: Transaction,
    *,
    worker_id: str,
    room: Mapping[Lane, int],
    lease_ms: int,
    only_batch: int | None = None,
    upstreams: Sequence[str] = ("",),
    runs_too: bool = True,
    passed_over: Sequence[int] = (),
) -> Taken:
    """Claim the fairest requests: up to `room[lane]` in all from that lane and those below it in the mapping.

    Shares (lane, tenant) are served in stride, in turns; within a share the oldest batch first; within a batch
    what is to be tried again first, then the next fresh requests in input order. Fresh requests that the cache can
    answer are answered on the way, and take no room. A claim costs the same behind a million rows as behind ten.

    Args:
        upstreams: Whom batches may be meant for that are claimed from.
        runs_too: Whether to claim from batches of `batchmill run` as well.
        passed_over: Batches not to claim from.
    """
    taken = Taken()
    offer = Offer(
        upstreams=list(upstreams),
        only_batch=only_batch,
        runs_too=runs_too,
        most=max(room.values()),
        passed_over=list(passed_over),
    )
    for nth in range(MOST_TURNS_A_CLAIM):
        lanes = [lane for lane, most in room.items() if most > len(taken.jobs)]
        if not lanes or taken.answered >= MOST_ANSWERED_A_CLAIM:
            break
        batch = offer.fairest(tx, lanes)
        if batch is None:
            break
        most = room[Lane(batch.lane)] - len(taken.jobs)
        turn = min(most + MOST_ANSWERED_A_CLAIM - taken.answered, offer.turn(tx, lanes, batch))
        most = min(most, turn)
        more = _take_from(tx, batch, worker_id, most, turn, lease_ms, is_first=nth == 0)
        if more.lines < most:
            offer.passed_over.append(batch.id)
        taken.jobs += more.jobs
        taken.answered += more.answered
    return taken


def _take_from(
    tx: Transaction, batch: Any, worker_id: str, most: int, turn: int, lease_ms: int, *, is_first: bool
) -> Taken:
    """Claim up to `most` requests of a batch, taking up to `turn` of its lines."""
    locked = tx.rows(_lock_first if is_first else _lock_next, batch=batch.id)
    if not locked or locked[0].state != BatchState.IN_PROGRESS:
        return Taken()
    claim = tx.rows(_make, worker_id=worker_id, batch=batch.id, until=tx.now_ms + lease_ms)[0].id
    rows = list(tx.rows(_take_due[tx.dialect], claim=claim, batch=batch.id, now_ms=tx.now_ms, most=most))
    answered = _go_on(tx, batch, claim, locked[0], rows, most, turn)
    if rows:
        tx.run(_list, claim=claim, ids=orjson.dumps([row.id for row in rows]).decode())
    else:
        tx.run(_delete, ids=[claim])
    facts = facts_of(batch)
    taken = Taken([job_of(row, facts, claim) for row in sorted(rows)], answered)
    charge(tx, batch, taken.lines)
    return taken


def _go_on(
    tx: Transaction, batch: Any, claim: int, locked: Any, rows: list[Any], most: int, turn: int
) -> int:
    """Go through fresh lines: what the cache answers is answered, the others join the claimed rows; how many answered.

    In steps of as many lines as there is room for, should the cache answer none of them. Those that were looked up
    while the batch waited are not looked up again here.
    """
    cursor, answered = locked.cursor, Counter[str]()
    while step := min(most - len(rows), turn - len(rows) - answered.total(), locked.total - cursor):
        ahead = locked.looked_up_to - cursor
        step = min(step, ahead) if ahead > 0 else step
        first, last = request_id(batch.id, cursor + 1), request_id(batch.id, cursor + step)
        cursor += step
        now_answered = Counter[str]() if ahead > 0 else answer_fresh(tx, batch, first, last)
        answered += now_answered
        if now_answered.total() < step:
            rows += tx.rows(_take_fresh, claim=claim, first=first, last=last)
    if cursor > locked.cursor:
        tx.run(_advance, batch=batch.id, to=cursor)
    if answered:
        batch_rows.count(tx, {batch.id: {**answered, "cached": answered.total()}})
    return answered.total()


def answer_fresh(tx: Transaction, batch: Any, first: int, last: int) -> Counter[str]:
    """Answer those of a locked batch's requests in a range past its cursor, never looked up before, that the cache has
    an answer for; how many, by state. Its counters are still to be changed."""
    mode = CacheMode(batch.cache)
    if mode is CacheMode.OFF:
        return Counter()
    since_ms = batch.started_ms if mode is CacheMode.REFRESH else 0
    return hits.answer(tx, first=first, last=last, since_ms=since_ms)


def facts_of(batch: Any) -> BatchFacts:
    """What a worker needs to know of a batch, from its row."""
    return BatchFacts(
        id=batch.id,
        public_id=batch.public_id,
        lane=Lane(batch.lane),
        endpoint=Endpoint(batch.endpoint),
        tenant=batch.tenant,
        user=batch.user_id,
        agent=batch.agent,
        request_type=batch.request_type,
        cache=CacheMode(batch.cache),
        on_unknown=OnUnknown(batch.on_unknown),
        started_ms=batch.started_ms,
        on_budget=OnLimit(batch.on_budget) if batch.on_budget else None,
        wants=load_wants(batch.routing),
    )


def job_of(row: Any, batch: BatchFacts, claim: int) -> Job:
    """A claimed request, from its row; whom it is for in full, its question tells (`lookup`)."""
    return Job(
        request_id=row.id,
        batch=batch,
        claim_id=claim,
        cache_key=row.cache_key,
        attempts=row.attempts,
        tries=row.tries,
        throttles=row.throttles,
        reason=row.retry_reason or FIRST,
        request_type=row.request_type or batch.request_type,
        provider="" if row.is_auto else DEFAULT_PROVIDER,
    )


def renew(tx: Transaction, *, ids: Sequence[int], lease_ms: int) -> list[int]:
    """Prolong those of these claims that have not run out; their ids."""
    if not ids:
        return []
    return [row.id for row in tx.rows(_renew, ids=list(ids), now_ms=tx.now_ms, until=tx.now_ms + lease_ms)]


def lock(tx: Transaction, ids: Sequence[int]) -> dict[int, int]:
    """Lock the claims that still stand until the transaction ends; when each runs out, by claim id."""
    if not ids:
        return {}
    return {row.id: row.lease_until_ms for row in tx.rows(_lock, ids=sorted(ids))}


def drop(tx: Transaction, ids: Sequence[int]) -> None:
    """Delete claims whose every request has left them."""
    if ids:
        tx.run(_delete, ids=list(ids))


def any_of(tx: Transaction, batch: int) -> bool:
    """Whether anyone holds requests of a batch."""
    return bool(tx.rows(select(claims.c.id).where(claims.c.batch_id == batch).limit(1)))


def held_of(tx: Transaction, batch: int, most: int) -> list[int]:
    """Up to so many requests of a batch that stand in claims; some of them may have left their claim."""
    held = select(claims.c.request_ids).where(claims.c.batch_id == batch).order_by(claims.c.id).limit(most)
    return [id_ for row in tx.rows(held) for id_ in orjson.loads(row.request_ids)][:most]


def any_of_submitted(tx: Transaction) -> bool:
    """Whether anyone holds requests of a submitted batch."""
    held = select(claims.c.id).join(batches, batches.c.id == claims.c.batch_id)
    return bool(tx.rows(held.where(batches.c.output_path.is_(None)).limit(1)))


def lanes_with_work(
    tx: Transaction, submitted_for: Sequence[str] | None = None
) -> dict[str, tuple[int, int]]:
    """By lane: a batch with claimable work, and about how many requests of the lane have never been claimed.

    Args:
        submitted_for: Look only at submitted batches that are meant for one of these upstreams.
    """
    with_work = (
        select(
            batches.c.lane,
            func.min(batches.c.id).label("batch"),
            func.sum(batches.c.total - batches.c.cursor).label("fresh"),
        )
        .where(claimable)
        .group_by(batches.c.lane)
    )
    if submitted_for is not None:
        with_work = with_work.where(batches.c.output_path.is_(None), batches.c.upstream.in_(submitted_for))
    found = tx.rows(with_work, now_ms=tx.now_ms)
    return {row.lane: (row.batch, int(row.fresh)) for row in found}


def claimable_in(tx: Transaction, batch: int) -> int:
    """About how many requests of a batch can be claimed now; 0 = none."""
    found = tx.rows(
        select(batches.c.total - batches.c.cursor).where(claimable, batches.c.id == batch), now_ms=tx.now_ms
    )
    return max(1, found[0][0]) if found else 0
