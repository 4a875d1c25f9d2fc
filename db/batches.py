"""Batches: their lives, their counters, their place among others."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, bindparam, case, exists, func, insert, or_, select, true, update
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.budgets.model import OnLimit
from batchmill.requests.ids import new_batch_id
from batchmill.requests.model import ENDED, BatchOptions, BatchState, Endpoint
from batchmill.requests.work import HandBack
from db import webhooks
from db.bulk import INT, STR, rows_of
from db.engine import Transaction
from db.prepared import Prepared
from db.tables import batches, requests, shares, word

COUNTERS = ("done", "failed", "cancelled", "expired", "cached", "unknown_attempts", "spent_nanos", "unpriced")
UNFINISHED = (
    BatchState.VALIDATING,
    BatchState.IN_PROGRESS,
    BatchState.PAUSED,
    BatchState.CANCELLING,
    BatchState.FINALIZING,
)
_WAITS_FOR_NOTHING: dict[str, Any] = {
    "paused_reason": "",
    "waits_for_budget_id": None,
    "waits_for_nanos": None,
}
_RUNNING = (BatchState.IN_PROGRESS, BatchState.PAUSED, BatchState.CANCELLING)


def _count_statement(dialect: str) -> Any:
    columns = dict.fromkeys(("id", "sends", *COUNTERS), INT) | {"pause_reason": STR, "last_error": STR}
    given = rows_of(dialect, columns)
    ended = sum((batches.c[name] + given.c[name] for name in ENDED), start=0)
    is_over = and_(batches.c.state.in_([word(state) for state in _RUNNING]), ended >= batches.c.total)
    is_blocked = and_(batches.c.state == BatchState.IN_PROGRESS, given.c.pause_reason != "")
    runs_on = and_(batches.c.state == BatchState.IN_PROGRESS, given.c.pause_reason == "")
    values: dict[str, Any] = {name: batches.c[name] + given.c[name] for name in COUNTERS}
    values |= {
        "state": case(
            (and_(is_over, batches.c.is_direct), batches.c.final_state),
            (is_over, BatchState.FINALIZING),
            (is_blocked, BatchState.PAUSED),
            else_=batches.c.state,
        ),
        "calls": batches.c.calls + case((runs_on, given.c.sends), else_=0),
        "finalizing_ms": case((is_over, bindparam("at_ms", type_=INT)), else_=batches.c.finalizing_ms),
        "ended_ms": case(
            (and_(is_over, batches.c.is_direct), bindparam("at_ms", type_=INT)), else_=batches.c.ended_ms
        ),
        "paused_reason": case((is_blocked, given.c.pause_reason), else_=batches.c.paused_reason),
        "last_error": case((given.c.last_error != "", given.c.last_error), else_=batches.c.last_error),
    }
    return (
        update(batches)
        .where(batches.c.id == given.c.id)
        .values(values)
        .returning(batches.c.id, batches.c.state)
    )


_count = Prepared(_count_statement)
_retry_is_due = exists(
    select(1).where(requests.c.batch_id == batches.c.id, requests.c.next_run_ms <= bindparam("now_ms"))
).correlate(batches)
claimable = and_(
    batches.c.ended_ms.is_(None),  # so that the index of open batches serves, however many have ended
    batches.c.state == word(BatchState.IN_PROGRESS),
    or_(batches.c.cursor < batches.c.total, _retry_is_due),
)
_lock = (
    select(batches)
    .where(batches.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(batches.c.id)
    .with_for_update()
)
_unfinished_at = (
    select(batches)
    .where(batches.c.output_path == bindparam("path"), batches.c.state.in_(UNFINISHED))
    .order_by(batches.c.id.desc())
)


def create(
    tx: Transaction,
    options: BatchOptions,
    *,
    run_key: str | None = None,
    output_path: str | None = None,
    errors_path: str | None = None,
    deadline_ms: int | None = None,
) -> Any:
    """A new batch in `validating`; its row."""
    created = tx.rows(
        insert(batches)
        .values(
            public_id=new_batch_id(),
            state=BatchState.VALIDATING,
            lane=options.lane,
            job_name=options.job_name,
            request_type=options.request_type,
            tenant=options.tenant,
            user_id=options.user,
            agent=options.agent,
            routing=options.routing,
            cache=options.cache,
            on_unknown=options.on_unknown,
            on_budget=options.on_budget or "",
            deadline_ms=deadline_ms,
            run_key=run_key,
            output_path=output_path,
            errors_path=errors_path,
            created_ms=tx.now_ms,
            touched_ms=tx.now_ms,
        )
        .returning(*batches.c)
    )
    return created[0]


def touch(tx: Transaction, batch: int) -> bool:
    """Show that an ingest goes on; False when the batch is no longer `validating`."""
    changed = update(batches).where(batches.c.id == batch, batches.c.state == BatchState.VALIDATING)
    return tx.run(changed.values(touched_ms=tx.now_ms)) == 1


def start(tx: Transaction, batch: int, *, endpoint: Endpoint, total: int, upstream: str = "") -> bool:
    """Let a validated batch run; False when it is no longer `validating`.

    Args:
        upstream: Whom its requests are meant for (`routing.upstreams`).
    """
    begun = (
        update(batches)
        .where(batches.c.id == batch, batches.c.state == BatchState.VALIDATING)
        .values(
            state=BatchState.IN_PROGRESS,
            endpoint=endpoint,
            upstream=upstream,
            total=total,
            started_ms=tx.now_ms,
            touched_ms=tx.now_ms,
        )
        .returning(batches.c.lane, batches.c.tenant)
    )
    found = tx.rows(begun)
    if not found:
        return False
    _join_the_line(tx, found[0].lane, found[0].tenant, batch)
    return True


def _join_the_line(tx: Transaction, lane: str, tenant: str, batch: int) -> None:
    """A share that starts (again) to have work begins at the lowest pass in use, neither ahead of others nor behind.

    In use are shares with something to claim: one that only waits for its last answers has fallen behind by
    then, and whoever began there would be served alone until it had caught up. Passes never run back.
    """
    in_use = (
        select(func.min(shares.c["pass"]))
        .join(batches, and_(batches.c.lane == shares.c.lane, batches.c.tenant == shares.c.tenant))
        .where(claimable, batches.c.id != batch)
    )
    lowest = tx.rows(in_use, now_ms=tx.now_ms)[0][0]
    if lowest is None:
        lowest = tx.rows(select(func.coalesce(func.max(shares.c["pass"]), 0)))[0][0]
    dialect_insert = postgresql.insert if tx.dialect == "postgresql" else sqlite.insert
    joining = dialect_insert(shares).values({"lane": lane, "tenant": tenant, "pass": lowest})
    ahead = case((shares.c["pass"] < lowest, lowest), else_=shares.c["pass"])
    tx.run(joining.on_conflict_do_update(index_elements=["lane", "tenant"], set_={"pass": ahead}))


def reject(tx: Transaction, batch: int, reason: str) -> bool:
    """Fail a batch that was never started; False when it was, and nothing of it may be deleted.

    It has ended (`ended_ms`) only when its rows are gone too: see `forget`.
    """
    failed = update(batches).where(batches.c.id == batch, batches.c.state == BatchState.VALIDATING)
    if tx.run(failed.values(state=BatchState.FAILED, last_error=reason)) == 1:
        webhooks.due(tx, batch)
        return True
    found = tx.rows(select(batches.c.state).where(batches.c.id == batch))
    return bool(found) and found[0].state == BatchState.FAILED


def forget(tx: Transaction, batch: int) -> None:
    """End a rejected batch whose rows have been deleted."""
    rejected = update(batches).where(batches.c.id == batch, batches.c.state == BatchState.FAILED)
    tx.run(rejected.where(batches.c.ended_ms.is_(None)).values(ended_ms=tx.now_ms))


def count(tx: Transaction, changes: Mapping[int, Mapping[str, Any]]) -> dict[int, BatchState]:
    """Add to the counters of batches, lock them, and tell their states; whoever adds the last line finalises.

    A direct request owes nobody files: with its only line its batch has ended.

    Args:
        changes: By batch: any of `COUNTERS`, `sends` (counted as calls only if the batch still runs),
            `pause_reason`, `last_error`.
    """
    if not changes:
        return {}
    if tx.dialect != "sqlite" and len(changes) > 1:
        tx.rows(_lock, ids=sorted(changes))
    nothing: dict[str, Any] = dict.fromkeys(("sends", *COUNTERS), 0) | {"pause_reason": "", "last_error": ""}
    table = [nothing | {"id": batch} | dict(changes[batch]) for batch in sorted(changes)]
    return {row.id: BatchState(row.state) for row in tx.bulk_rows(_count, table, at_ms=tx.now_ms)}


def rows(tx: Transaction, ids: Sequence[int]) -> dict[int, Any]:
    """The rows of these batches, by id."""
    if not ids:
        return {}
    return {row.id: row for row in tx.rows(select(batches).where(batches.c.id.in_(list(ids))))}


def unfinished_at(tx: Transaction, output_path: str) -> Any | None:
    """The newest batch that still owes its results to that path."""
    found = tx.rows(_unfinished_at, path=output_path)
    return found[0] if found else None


def resume(tx: Transaction, batch: int, *, only_waiting: bool = False) -> bool:
    """Let a paused batch run on.

    Args:
        only_waiting: Only if it waits for a budget.
    """
    is_meant = batches.c.waits_for_budget_id.is_not(None) if only_waiting else true()
    resumed = (
        update(batches)
        .where(batches.c.id == batch, batches.c.state == BatchState.PAUSED, is_meant)
        .values(state=BatchState.IN_PROGRESS, last_error="", **_WAITS_FOR_NOTHING)
        .returning(batches.c.lane, batches.c.tenant)
    )
    for row in tx.rows(resumed):
        _join_the_line(tx, row.lane, row.tenant, batch)
        return True
    return False


def pause(tx: Transaction, batch: int, reason: str) -> bool:
    """Let no new call of a batch start until it is resumed; one that waits for a budget no longer waits for that."""
    stands = or_(
        batches.c.state == BatchState.IN_PROGRESS,
        and_(batches.c.state == BatchState.PAUSED, batches.c.waits_for_budget_id.is_not(None)),
    )
    paused = update(batches).where(batches.c.id == batch, stands)
    values = _WAITS_FOR_NOTHING | {"state": BatchState.PAUSED, "paused_reason": reason}
    return tx.run(paused.values(values)) == 1


def wait_for_budgets(tx: Transaction, backs: Sequence[HandBack]) -> None:
    """Let the batches of these jobs, which were paused for that in this transaction, wait until there is room."""
    withheld = {back.job.batch.id: back.withheld for back in backs if back.withheld is not None}
    for batch, why in sorted(withheld.items()):
        waiting = update(batches).where(
            batches.c.id == batch,
            batches.c.state == BatchState.PAUSED,
            batches.c.paused_reason == why.reason,
        )
        tx.run(waiting.values(waits_for_budget_id=why.budget_id, waits_for_nanos=why.needs_nanos))


def waiting_for_budgets(tx: Transaction) -> Sequence[Any]:
    """The batches that wait for room in a budget."""
    return tx.rows(
        select(batches)
        .where(
            batches.c.ended_ms.is_(None),
            batches.c.state == BatchState.PAUSED,
            batches.c.waits_for_budget_id.is_not(None),
        )
        .order_by(batches.c.id)
    )


def lock_waiting(tx: Transaction, batch: int) -> Any | None:
    """The row of a batch, locked, if it waits for a budget and has lines that nobody has looked up yet."""
    found = tx.rows(_lock, ids=[batch])
    if not found or found[0].state != BatchState.PAUSED or found[0].waits_for_budget_id is None:
        return None
    return found[0] if has_new_lines(found[0]) else None


def has_new_lines(row: Any) -> bool:
    """Whether nobody has looked up yet some lines of a batch."""
    return bool(max(row.cursor, row.looked_up_to) < row.total)


def note_looked_up(tx: Transaction, batch: int, place: int) -> None:
    """The lines of a batch up to that place have been looked up in the cache, ahead of any claim."""
    tx.run(update(batches).where(batches.c.id == batch).values(looked_up_to=place))


def cancel(tx: Transaction, batch: int, final_state: BatchState = BatchState.CANCELLED) -> bool:
    """Begin to end a batch early: no new call starts; `cancelled` or `expired` once its last request has ended."""
    ended = update(batches).where(
        batches.c.id == batch, batches.c.state.in_([BatchState.IN_PROGRESS, BatchState.PAUSED])
    )
    values = {"state": BatchState.CANCELLING, "final_state": final_state, "cancelling_ms": tx.now_ms}
    return tx.run(ended.values(values)) == 1


def set_on_budget(tx: Transaction, batch: int, on_budget: OnLimit) -> None:
    """Say what becomes of the lines of a batch at the limit of a budget, from the next claim on."""
    tx.run(update(batches).where(batches.c.id == batch).values(on_budget=on_budget.value))


def disown(tx: Transaction, batch: int) -> None:
    """Nobody comes for the files of a batch any more."""
    tx.run(update(batches).where(batches.c.id == batch).values(output_path=None))


def cancelling(tx: Transaction) -> Sequence[Any]:
    """The batches whose idle requests are still to be ended."""
    return tx.rows(
        select(batches).where(batches.c.ended_ms.is_(None), batches.c.state == BatchState.CANCELLING)
    )


def overdue(tx: Transaction) -> Sequence[Any]:
    """The running batches whose deadline has passed."""
    return tx.rows(
        select(batches).where(
            batches.c.ended_ms.is_(None),
            batches.c.state.in_([BatchState.IN_PROGRESS, BatchState.PAUSED]),
            batches.c.deadline_ms <= tx.now_ms,
        )
    )


def abandoned(tx: Transaction, idle_ms: int) -> Sequence[Any]:
    """The ingests that nobody has touched for so long, and those whose discarding broke off.

    What was handed in over HTTP is not abandoned: its file is there to be read again.
    """
    is_abandoned = and_(batches.c.state == BatchState.VALIDATING, batches.c.input_file == "")
    return tx.rows(
        select(batches).where(
            batches.c.ended_ms.is_(None),
            or_(is_abandoned, batches.c.state == BatchState.FAILED),
            batches.c.touched_ms < tx.now_ms - idle_ms,
        )
    )


def of_commands(tx: Transaction) -> Sequence[Any]:
    """The batches that a command takes in or has answered right now, or did when it was killed."""
    is_run = and_(batches.c.state == BatchState.IN_PROGRESS, batches.c.output_path.is_not(None))
    is_read = and_(batches.c.state == BatchState.VALIDATING, batches.c.input_file == "")
    return tx.rows(select(batches).where(batches.c.ended_ms.is_(None), or_(is_run, is_read)))


def undelivered(tx: Transaction) -> Sequence[Any]:
    """The batches in `finalizing` that owe nobody files."""
    return tx.rows(
        select(batches).where(
            batches.c.ended_ms.is_(None),
            batches.c.state == BatchState.FINALIZING,
            batches.c.output_path.is_(None),
            batches.c.input_file == "",
        )
    )


def finish(tx: Transaction, batch: int) -> bool:
    """End a batch whose files have been delivered."""
    ended = update(batches).where(batches.c.id == batch, batches.c.state == BatchState.FINALIZING)
    if tx.run(ended.values(state=batches.c.final_state, ended_ms=tx.now_ms)) == 0:
        return False
    webhooks.due(tx, batch)
    return True
