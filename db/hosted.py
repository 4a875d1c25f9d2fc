"""Hosted batches: those handed in over HTTP, which are read from one file and owe others.

Whoever reads or writes for one leases it first (`take`), and every write of his names that lease; killed, he is
followed by another once it has run out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, func, insert, or_, select, update

from batchmill.requests.model import BatchState, LineError
from db import webhooks
from db.bulk import INT
from db.engine import Transaction, without_nul
from db.tables import batch_faults, batches, ledger

MOST_FAULTS = 10_000
"""So many faults of a file are kept; beyond that only how many there are."""

_is_unread = batches.c.started_ms.is_(None)
_has_work = or_(
    batches.c.state == BatchState.VALIDATING,
    batches.c.state == BatchState.FINALIZING,
    (batches.c.state == BatchState.CANCELLING) & _is_unread,
)
_to_do = (
    select(batches.c.id)
    .where(
        batches.c.ended_ms.is_(None),
        batches.c.input_file != "",
        _has_work,
        batches.c.clerk_until_ms <= bindparam("now_ms", type_=INT),
    )
    .order_by(batches.c.id)
    .limit(1)
)
_any_to_do = select(_to_do.exists())
# MATERIALIZED: as a plain sub-select PostgreSQL may run it more than once.
_locked = select(_to_do.with_for_update(skip_locked=True).cte("work").prefix_with("MATERIALIZED").c.id)
_take = {
    dialect: update(batches)
    .where(batches.c.id.in_(chosen))
    .values(clerk=bindparam("clerk"), clerk_until_ms=bindparam("until", type_=INT))
    .returning(*batches.c)
    for dialect, chosen in {"sqlite": _to_do, "postgresql": _locked}.items()
}
_tokens = select(
    *(
        func.coalesce(func.sum(ledger.c[name]), 0).label(name)
        for name in ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
    )
).where(
    ledger.c.batch_id == bindparam("batch", type_=INT), ledger.c.at_ms >= bindparam("since_ms", type_=INT)
)


def describe(
    tx: Transaction,
    batch: int,
    *,
    input_file: str,
    endpoint: str,
    window_s: int,
    output_expires_s: int | None,
    metadata: str,
) -> Any:
    """Say that a new batch is a hosted one, and what its producer said of it; its row."""
    told = (
        update(batches)
        .where(batches.c.id == batch)
        .values(
            input_file=input_file,
            endpoint=endpoint,
            window_s=window_s,
            output_expires_s=output_expires_s,
            metadata=metadata,
        )
    )
    return tx.rows(told.returning(*batches.c))[0]


def has_work(tx: Transaction) -> bool:
    """Whether there is anything to take; to ask keeps nobody from writing."""
    return bool(tx.rows(_any_to_do, now_ms=tx.now_ms)[0][0])


def take(tx: Transaction, clerk: str, lease_ms: int) -> Any | None:
    """Lease the oldest hosted batch that something is to be done for; its row, None without one."""
    found = tx.rows(_take[tx.dialect], now_ms=tx.now_ms, clerk=clerk, until=tx.now_ms + lease_ms)
    return found[0] if found else None


def renew(tx: Transaction, batch: int, clerk: str, lease_ms: int, states: Sequence[BatchState]) -> bool:
    """Prolong the lease; False when it is another's by now, or the batch is in none of these states any more."""
    kept = update(batches).where(
        batches.c.id == batch, batches.c.clerk == clerk, batches.c.state.in_(list(states))
    )
    return tx.run(kept.values(clerk_until_ms=tx.now_ms + lease_ms, touched_ms=tx.now_ms)) == 1


def let_go(tx: Transaction, batch: int, clerk: str, delay_ms: int = 0) -> None:
    """End the lease: another may go on, after that delay."""
    tx.run(
        update(batches)
        .where(batches.c.id == batch, batches.c.clerk == clerk)
        .values(clerk="", clerk_until_ms=tx.now_ms + delay_ms)
    )


def cancel_unread(tx: Transaction, batch: int) -> bool:
    """Begin to cancel a hosted batch whose file has not been read; False when it has, or has been cancelled."""
    unread = update(batches).where(
        batches.c.id == batch, batches.c.state == BatchState.VALIDATING, batches.c.input_file != ""
    )
    ending = {"state": BatchState.CANCELLING, "final_state": BatchState.CANCELLED, "clerk_until_ms": 0}
    return tx.run(unread.values(**ending, cancelling_ms=tx.now_ms)) == 1


def end_unread(tx: Transaction, batch: int, clerk: str) -> bool:
    """End one that is cancelled, or whose time was up, before it was read; its rows are gone."""
    ended = update(batches).where(
        batches.c.id == batch,
        batches.c.clerk == clerk,
        batches.c.state == BatchState.CANCELLING,
        _is_unread,
    )
    if tx.run(ended.values(state=batches.c.final_state, ended_ms=tx.now_ms)) == 0:
        return False
    webhooks.due(tx, batch)
    return True


def expire_unread(tx: Transaction) -> int:
    """Begin to end those whose time is up before they were read; how many."""
    overdue = update(batches).where(
        batches.c.ended_ms.is_(None),
        batches.c.state == BatchState.VALIDATING,
        batches.c.input_file != "",
        batches.c.deadline_ms <= tx.now_ms,
    )
    ending = {"state": BatchState.CANCELLING, "final_state": BatchState.EXPIRED, "clerk_until_ms": 0}
    return tx.run(overdue.values(**ending))


def note_model(tx: Transaction, batch: int, model: str) -> None:
    """Note the one model that all its lines ask for."""
    tx.run(update(batches).where(batches.c.id == batch).values(model=model))


def finish(
    tx: Transaction, batch: int, clerk: str, *, output_file: str, error_file: str, usage: str
) -> Any | None:
    """End a batch whose files are written; its row. None when that is another's to do by now."""
    ended = (
        update(batches)
        .where(batches.c.id == batch, batches.c.clerk == clerk, batches.c.state == BatchState.FINALIZING)
        .values(
            state=batches.c.final_state,
            ended_ms=tx.now_ms,
            output_file=output_file,
            error_file=error_file,
            usage=usage,
        )
        .returning(*batches.c)
    )
    found = tx.rows(ended)
    if not found:
        return None
    webhooks.due(tx, batch)
    return found[0]


def fail(tx: Transaction, batch: int, clerk: str, faults: Sequence[LineError], reason: str) -> bool:
    """Fail a batch whose file is not to be had or not valid, with what is wrong; False when it is another's by now.

    It has ended once its rows are gone: see `batches.forget`.
    """
    failed = update(batches).where(
        batches.c.id == batch, batches.c.clerk == clerk, batches.c.state == BatchState.VALIDATING
    )
    ending = {"state": BatchState.FAILED, "last_error": without_nul(reason), "touched_ms": tx.now_ms}
    if tx.run(failed.values(**ending)) != 1:
        return False
    webhooks.due(tx, batch)
    rows = [
        {
            "batch_id": batch,
            "nth": nth,
            "line": fault.line,
            "code": fault.code,
            "message": without_nul(fault.message),
            "param": fault.param,
        }
        for nth, fault in enumerate(faults)
    ]
    tx.connection.execute(insert(batch_faults), rows)
    return True


def faults(tx: Transaction, batches_: Sequence[int]) -> Mapping[int, list[Any]]:
    """What was wrong with the files of these batches, by batch, in the order in which it was found."""
    if not batches_:
        return {}
    found: dict[int, list[Any]] = {}
    wanted = select(batch_faults).where(batch_faults.c.batch_id.in_(list(batches_)))
    for row in tx.rows(wanted.order_by(batch_faults.c.batch_id, batch_faults.c.nth)):
        found.setdefault(row.batch_id, []).append(row)
    return found


def tokens(tx: Transaction, batch: Any) -> Any:
    """What the calls of a batch came to: a row of input, cached, output and reasoning tokens; zeros for none."""
    return tx.rows(_tokens, batch=batch.id, since_ms=batch.created_ms)[0]
