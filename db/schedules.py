"""What runs by itself: whose turn it is, and what came of each run; one row per job and due time."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Row, and_, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from db.engine import Transaction, without_nul
from db.tables import schedule_runs, schedules

LEASE_MS = 60_000
"""After this long without a sign of life another takes over: the owner was killed."""

SHORT_LEASE_MS = 20_000
"""The same for what takes seconds and is missed when it does not come, as the sweep is."""

MOST_TRIES = 5
FIRST_WAIT_MS = 30_000
"""After a failure; twice as long after each further one."""

KEPT = 200
"""Runs of a job that are kept, the newest."""

KILLED = "whoever ran it was killed"
STOPPED = "stopped in between"


class RunState(StrEnum):
    """How far a run has come."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A run that is ours for as long as its lease is renewed.

    Attributes:
        tries: How often it has been begun, this time included; together with `owner` the fence.
        lease_ms: How long it is ours without a sign of life.
    """

    job: str
    due_ms: int
    owner: str
    tries: int
    lease_ms: int = LEASE_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run, as it stands.

    Attributes:
        is_killed: It is not done and nobody is at it any more: whoever ran it was killed.
    """

    job: str
    due_ms: int
    state: RunState
    tries: int
    next_try_ms: int
    started_ms: int
    ended_ms: int | None
    owner: str
    detail: Mapping[str, Any]
    error: str
    is_killed: bool = False


_s, _r = schedules.c, schedule_runs.c
_is_held = and_(_s.owner == _r.owner, _s.lease_until_ms > bindparam("now_ms"))
_runs = select(schedule_runs, _is_held.label("is_held")).join_from(
    schedule_runs, schedules, _s.name == _r.job
)


def busy(tx: Transaction) -> frozenset[str]:
    """The jobs that somebody is running right now."""
    return frozenset(row.name for row in tx.rows(select(_s.name).where(_s.lease_until_ms > tx.now_ms)))


def hear_of(tx: Transaction, jobs: Iterable[str]) -> None:
    """Know these jobs from now on: what was due before a job was first heard of is not made up for."""
    for job in jobs:
        known = _insert(tx)(schedules).values(name=job, since_ms=tx.now_ms)
        tx.run(known.on_conflict_do_nothing(index_elements=["name"]))


def known(tx: Transaction) -> dict[str, int]:
    """The jobs that have been heard of, and since when."""
    return {row.name: row.since_ms for row in tx.rows(select(_s.name, _s.since_ms))}


def is_wanted(tx: Transaction, job: str, due_ms: int) -> bool:
    """Whether nobody has done, does or has given up that run; the cheap question before `take`."""
    is_free = and_(_s.name == job, _s.since_ms < due_ms, _s.lease_until_ms <= tx.now_ms)
    if not tx.rows(select(_s.name).where(is_free)):
        return False
    return _may_begin(tx, _run_of(tx, job, due_ms))


def take(
    tx: Transaction,
    job: str,
    due_ms: int,
    owner: str,
    *,
    by_hand: bool = False,
    not_beside: Collection[str] = (),
    lease_ms: int = LEASE_MS,
) -> Turn | None:
    """Begin a run, for as long as the lease lasts; None when it is not to be begun now.

    Args:
        by_hand: Somebody asked for this run: it may be due before the job was first heard of.
        not_beside: Jobs of which one at a time is run, this one among them: it waits while somebody runs another.
    """
    hear_of(tx, [job])
    if not _are_free(tx, not_beside):
        return None
    is_free = and_(_s.name == job, _s.lease_until_ms <= tx.now_ms)
    if not by_hand:
        is_free = and_(is_free, _s.since_ms < due_ms)
    lease = {"owner": owner, "lease_until_ms": tx.now_ms + lease_ms}
    if not tx.run(update(schedules).where(is_free).values(lease)):
        return None
    # The job was free: whoever began a run of it that has not ended was killed.
    killed = and_(_r.job == job, _r.state == RunState.RUNNING.value)
    _end(tx, killed, RunState.FAILED, error=KILLED)
    found = _run_of(tx, job, due_ms)
    if not _may_begin(tx, found):
        _let_go(tx, job, owner)
        return None
    tries = 1 if found is None else found.tries + 1
    return _begin(tx, Turn(job=job, due_ms=due_ms, owner=owner, tries=tries, lease_ms=lease_ms))


def _begin(tx: Transaction, turn: Turn) -> Turn:
    begun = {
        "state": RunState.RUNNING.value,
        "tries": turn.tries,
        "started_ms": tx.now_ms,
        "ended_ms": None,
        "owner": turn.owner,
    }
    added = _insert(tx)(schedule_runs).values(job=turn.job, due_ms=turn.due_ms, **begun)
    tx.run(added.on_conflict_do_update(index_elements=["job", "due_ms"], set_=begun))
    _trim(tx, turn.job)
    return turn


def renew(tx: Transaction, turn: Turn) -> bool:
    """Say that it goes on; whether it is still ours."""
    ours = and_(_s.name == turn.job, _s.owner == turn.owner)
    return bool(tx.run(update(schedules).where(ours).values(lease_until_ms=tx.now_ms + turn.lease_ms)))


def finish(tx: Transaction, turn: Turn, detail: Mapping[str, Any]) -> bool:
    """It is done; whether that counts: nothing is noted where another has taken over."""
    told = orjson.dumps(detail, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    counts = _end(tx, _ours(turn), RunState.DONE, detail=told, error="", next_try_ms=0)
    _let_go(tx, turn.job, turn.owner)
    return counts


def fail(tx: Transaction, turn: Turn, error: str) -> None:
    """It went wrong; the next try comes after a while, unless there were too many."""
    wait_ms = FIRST_WAIT_MS * 2 ** (turn.tries - 1)
    told = without_nul(error)
    _end(tx, _ours(turn), RunState.FAILED, error=told, next_try_ms=tx.now_ms + wait_ms)
    _let_go(tx, turn.job, turn.owner)


def hand_back(tx: Transaction, turn: Turn) -> None:
    """Whoever ran it was told to stop: another may begin it at once, and it counts as no try."""
    _end(tx, _ours(turn), RunState.FAILED, error=STOPPED, next_try_ms=0, tries=turn.tries - 1)
    _let_go(tx, turn.job, turn.owner)


def listed(tx: Transaction, job: str | None = None, *, most: int) -> list[RunRow]:
    """Runs, the last begun first; of all jobs or of one."""
    wanted = _runs.order_by(_r.started_ms.desc(), _r.job, _r.due_ms.desc()).limit(most)
    rows = tx.rows(wanted if job is None else wanted.where(_r.job == job), now_ms=tx.now_ms)
    return [_run(row) for row in rows]


def last_runs(tx: Transaction) -> dict[str, RunRow]:
    """By job: the run of its latest due time."""
    latest = select(_r.job, func.max(_r.due_ms).label("due_ms")).group_by(_r.job).subquery()
    wanted = _runs.join(latest, and_(_r.job == latest.c.job, _r.due_ms == latest.c.due_ms))
    return {row.job: _run(row) for row in tx.rows(wanted, now_ms=tx.now_ms)}


def known_since_ms(tx: Transaction) -> dict[str, int]:
    """By job: since when it has been heard of."""
    return {row.name: row.since_ms for row in tx.rows(select(_s.name, _s.since_ms))}


def last_done_ms(tx: Transaction) -> dict[str, int]:
    """By job: when it was last done."""
    done = select(_r.job, func.max(_r.ended_ms).label("ms")).where(_r.state == RunState.DONE.value)
    return {row.job: row.ms for row in tx.rows(done.group_by(_r.job))}


def _may_begin(tx: Transaction, found: Row[Any] | None) -> bool:
    """Its job being free."""
    if found is None:
        return True
    waits = found.state == RunState.FAILED and found.next_try_ms > tx.now_ms
    return found.state != RunState.DONE and found.tries < MOST_TRIES and not waits


def _run_of(tx: Transaction, job: str, due_ms: int) -> Row[Any] | None:
    found = tx.rows(select(schedule_runs).where(_is(job, due_ms)))
    return found[0] if found else None


def _are_free(tx: Transaction, jobs: Collection[str]) -> bool:
    """Whether nobody runs any of these; until the transaction ends nobody begins one, either."""
    wanted = select(_s.lease_until_ms).where(_s.name.in_(sorted(jobs))).order_by(_s.name).with_for_update()
    return not jobs or all(row.lease_until_ms <= tx.now_ms for row in tx.rows(wanted))


def _end(tx: Transaction, which: ColumnElement[bool], state: RunState, **values: Any) -> bool:
    """End the run that this is; whether there was one."""
    ended = update(schedule_runs).where(which).values(state=state.value, ended_ms=tx.now_ms, **values)
    return bool(tx.run(ended))


def _let_go(tx: Transaction, job: str, owner: str) -> None:
    tx.run(update(schedules).where(_s.name == job, _s.owner == owner).values(lease_until_ms=0))


def _trim(tx: Transaction, job: str) -> None:
    oldest = select(_r.due_ms).where(_r.job == job).order_by(_r.due_ms.desc()).offset(KEPT).limit(1)
    tx.run(delete(schedule_runs).where(_r.job == job, _r.due_ms <= oldest.scalar_subquery()))


def _is(job: str, due_ms: int) -> ColumnElement[bool]:
    return and_(_r.job == job, _r.due_ms == due_ms)


def _ours(turn: Turn) -> ColumnElement[bool]:
    is_running = _r.state == RunState.RUNNING.value
    return and_(_is(turn.job, turn.due_ms), _r.owner == turn.owner, _r.tries == turn.tries, is_running)


def _insert(tx: Transaction) -> Any:
    return postgresql.insert if tx.dialect == "postgresql" else sqlite.insert


def _run(row: Row[Any]) -> RunRow:
    return RunRow(
        job=row.job,
        due_ms=row.due_ms,
        state=RunState(row.state),
        tries=row.tries,
        next_try_ms=row.next_try_ms,
        started_ms=row.started_ms,
        ended_ms=row.ended_ms,
        owner=row.owner,
        detail=orjson.loads(row.detail) if row.detail else {},
        error=row.error,
        is_killed=row.state == RunState.RUNNING and not row.is_held,
    )
