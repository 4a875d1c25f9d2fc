"""Claims: which worker may call for which requests, and until when.

A claim is a lease and nothing else. Its id is its fence: ids are never given out twice, every write to a
claimed request names the claim it was made under, and whoever takes a lost claim's requests back deletes the
claim in the same transaction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import and_, bindparam, case, delete, func, insert, not_, or_, select, update

from batchmill.requests.ids import MAX_PLACES, request_id
from batchmill.requests.model import BatchState, CacheMode, Endpoint, Lane, OnUnknown, RequestState
from batchmill.requests.work import BatchFacts, Job
from db.batches import claimable
from db.bulk import BOOL
from db.engine import Transaction
from db.prepared import Prepared, among
from db.tables import batches, claims, requests, shares, word

STRIDES = {Lane.HIGH: 1, Lane.NORMAL: 10, Lane.LOW: 100}
"""What a claimed request adds to its share's pass. The lowest pass is served first, so of a hundred and eleven requests
claimed while every lane has work, `high` gets a hundred, `normal` ten, and `low` one: it never starves."""

LANE_ORDER = {Lane.HIGH: 0, Lane.NORMAL: 1, Lane.LOW: 2}
MOST_TURNS_A_CLAIM = 16
TURNS_OF_A_CLAIM = 8
SHORTEST_TURN = 8
"""Shares that compete take turns within a claim, each an eighth of it long, so that a large claim is fair too."""

_share_of_batch = and_(shares.c.lane == batches.c.lane, shares.c.tenant == batches.c.tenant)

_is_offered = and_(
    claimable,
    batches.c.upstream == bindparam("upstream"),
    among(batches.c.lane, "lanes"),
    or_(
        bindparam("only_batch", type_=batches.c.id.type).is_(None),
        batches.c.id == bindparam("only_batch"),
    ),
    or_(bindparam("runs_too", type_=BOOL), batches.c.output_path.is_(None)),
    not_(among(batches.c.id, "passed_over")),
)
_fairest_batch = Prepared(
    select(batches, shares.c["pass"].label("share_pass"))
    .join(shares, _share_of_batch)
    .where(_is_offered)
    .order_by(shares.c["pass"], case(LANE_ORDER, value=batches.c.lane), batches.c.id)
    .limit(1)
)
_other_shares = Prepared(
    select(shares.c.lane, func.min(shares.c["pass"]).label("lowest"))
    .join(batches, _share_of_batch)
    .where(_is_offered, or_(shares.c.lane != bindparam("of_lane"), shares.c.tenant != bindparam("of_tenant")))
    .group_by(shares.c.lane)
)
_state_of_batch = (
    select(batches.c.cursor, batches.c.total, batches.c.state)
    .join(shares, _share_of_batch)
    .where(batches.c.id == bindparam("batch"))
)
# Whoever holds one batch and its share already waits for no second: two claims could wait for each other.
_lock_first = Prepared(_state_of_batch.with_for_update())
_lock_next = Prepared(_state_of_batch.with_for_update(skip_locked=True))
_advance = Prepared(update(batches).where(batches.c.id == bindparam("batch")).values(cursor=bindparam("to")))
_charge_share = Prepared(
    update(shares)
    .where(shares.c.lane == bindparam("of_lane"), shares.c.tenant == bindparam("of_tenant"))
    .values({"pass": shares.c["pass"] + bindparam("cost")})
)
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


def take(
    tx: Transaction,
    *,
    worker_id: str,
    room: Mapping[Lane, int],
    lease_ms: int,
    only_batch: int | None = None,
    upstream: str = "",
    runs_too: bool = True,
) -> list[Job]:
    """Claim the fairest requests: up to `room[lane]` in all from that lane and those below it in the mapping.

    Shares (lane, tenant) are served in stride, in turns; within a share the oldest batch first; within a batch
    what is to be tried again first, then the next fresh requests in input order. A claim costs the same behind
    a million rows as behind ten.

    Args:
        runs_too: Whether to claim from batches of `batchmill run` as well.
    """
    jobs: list[Job] = []
    passed_over = [-1]
    quantum = max(SHORTEST_TURN, max(room.values()) // TURNS_OF_A_CLAIM)
    for turn in range(MOST_TURNS_A_CLAIM):
        lanes = [lane for lane, most in room.items() if most > len(jobs)]
        if not lanes:
            break
        offered = {
            "now_ms": tx.now_ms,
            "upstream": upstream,
            "lanes": lanes,
            "only_batch": only_batch,
            "runs_too": runs_too,
            "passed_over": passed_over,
        }
        found = tx.rows(_fairest_batch, **offered)
        if not found:
            break
        batch = found[0]
        most = room[Lane(batch.lane)] - len(jobs)
        if only_batch is None:
            most = min(most, _turn(tx, batch, offered, quantum=quantum))
        taken = _take_from(tx, batch, worker_id, most, lease_ms, is_first=turn == 0)
        if len(taken) < most:
            passed_over.append(batch.id)
        jobs += taken
    return jobs


def _turn(tx: Transaction, batch: Any, offered: dict[str, Any], quantum: int) -> int:
    """How many requests a batch's share may claim before it is another's turn: until it is a quantum ahead of it."""
    stride = STRIDES[Lane(batch.lane)]
    others = tx.rows(_other_shares, of_lane=batch.lane, of_tenant=batch.tenant, **offered)
    limits = [share.lowest + quantum * min(stride, STRIDES[Lane(share.lane)]) for share in others]
    return max(1, (min(limits) - batch.share_pass) // stride) if limits else MAX_PLACES


def _take_from(
    tx: Transaction, batch: Any, worker_id: str, most: int, lease_ms: int, *, is_first: bool
) -> list[Job]:
    locked = tx.rows(_lock_first if is_first else _lock_next, batch=batch.id)
    if not locked or locked[0].state != BatchState.IN_PROGRESS:
        return []
    cursor, total = locked[0].cursor, locked[0].total
    claim = tx.rows(_make, worker_id=worker_id, batch=batch.id, until=tx.now_ms + lease_ms)[0].id
    taken = list(tx.rows(_take_due[tx.dialect], claim=claim, batch=batch.id, now_ms=tx.now_ms, most=most))
    fresh = min(most - len(taken), total - cursor)
    if fresh > 0:
        first, last = request_id(batch.id, cursor + 1), request_id(batch.id, cursor + fresh)
        taken += tx.rows(_take_fresh, claim=claim, first=first, last=last)
        tx.run(_advance, batch=batch.id, to=cursor + fresh)
    if not taken:
        tx.run(_delete, ids=[claim])
        return []
    tx.run(_list, claim=claim, ids=orjson.dumps([row.id for row in taken]).decode())
    tx.run(
        _charge_share, of_lane=batch.lane, of_tenant=batch.tenant, cost=STRIDES[Lane(batch.lane)] * len(taken)
    )
    facts = facts_of(batch)
    return [job_of(row, facts, claim) for row in sorted(taken)]


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
    )


def job_of(row: Any, batch: BatchFacts, claim: int) -> Job:
    """A claimed request, from its row."""
    return Job(
        request_id=row.id,
        batch=batch,
        claim_id=claim,
        cache_key=row.cache_key,
        attempts=row.attempts,
        tries=row.tries,
        throttles=row.throttles,
        reason=row.retry_reason or "first",
        request_type=row.request_type or batch.request_type,
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


def lanes_with_work(tx: Transaction, submitted_for: str | None = None) -> dict[str, tuple[int, int]]:
    """By lane: a batch with claimable work, and about how many requests of the lane have never been claimed.

    Args:
        submitted_for: Look only at submitted batches that are meant for this upstream.
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
        with_work = with_work.where(batches.c.output_path.is_(None), batches.c.upstream == submitted_for)
    found = tx.rows(with_work, now_ms=tx.now_ms)
    return {row.lane: (row.batch, int(row.fresh)) for row in found}


def claimable_in(tx: Transaction, batch: int) -> int:
    """About how many requests of a batch can be claimed now; 0 = none."""
    found = tx.rows(
        select(batches.c.total - batches.c.cursor).where(claimable, batches.c.id == batch), now_ms=tx.now_ms
    )
    return max(1, found[0][0]) if found else 0
