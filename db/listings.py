"""Listings: batches as people look for them, by name or newest first."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, text

from batchmill.requests.model import BatchState
from db.engine import Transaction
from db.tables import batches, ledger

_newest_first = select(batches).order_by(batches.c.id.desc())
_TO_DO = (BatchState.VALIDATING, BatchState.IN_PROGRESS, BatchState.CANCELLING, BatchState.FINALIZING)


def named(tx: Transaction, public_id: str) -> Any | None:
    """The batch of exactly that name."""
    found = tx.rows(select(batches).where(batches.c.public_id == public_id))
    return found[0] if found else None


def beginning(tx: Transaction, prefix: str, most: int) -> Sequence[Any]:
    """The newest batches, up to so many, whose names begin so."""
    return tx.rows(_newest_first.where(batches.c.public_id.startswith(prefix, autoescape=True)).limit(most))


def of_tenant(tx: Transaction, public_id: str, tenant: str) -> Any | None:
    """The batch of exactly that name, if it is that tenant's; a single request is none."""
    found = named(tx, public_id)
    return found if found is not None and found.tenant == tenant and not found.is_direct else None


def page(
    tx: Transaction,
    *,
    most: int,
    before: int | None = None,
    states: Sequence[BatchState] = (),
    job_name: str | None = None,
    tenant: str | None = None,
) -> Sequence[Any]:
    """The newest batches, up to so many, that are as asked; single requests are none.

    Args:
        before: Only batches older than the one with this row number.
        states: Only batches in one of these; any when empty.
    """
    wanted = _newest_first.where(text("NOT is_direct")).limit(most)
    if before is not None:
        wanted = wanted.where(batches.c.id < before)
    if states:
        wanted = wanted.where(batches.c.state.in_(states))
    if job_name is not None:
        wanted = wanted.where(batches.c.job_name == job_name)
    if tenant is not None:
        wanted = wanted.where(batches.c.tenant == tenant)
    return tx.rows(wanted)


def submitted_to_do(tx: Transaction) -> Sequence[Any]:
    """The submitted batches that are on their way; paused ones, and those of `batchmill run`, are not."""
    return tx.rows(
        select(batches).where(
            batches.c.ended_ms.is_(None), batches.c.state.in_(_TO_DO), batches.c.output_path.is_(None)
        )
    )


def answered_since(tx: Transaction, batch: int, since_ms: int) -> int:
    """How many requests of a batch have been answered since then, by the ledger."""
    answered = select(func.count()).where(
        ledger.c.at_ms >= since_ms, ledger.c.batch_id == batch, ledger.c.success
    )
    return int(tx.rows(answered)[0][0])
