"""Batches as one tenant sees them: his own, and no others."""

from collections.abc import Sequence
from typing import Any

from batchmill.errors import NotFoundError
from batchmill.requests.model import BatchState
from db import listings
from db.engine import Database


def named(database: Database, public_id: str, tenant: str) -> Any:
    """The row of a tenant's batch.

    Raises:
        NotFoundError: It has none of that name.
    """
    with database.read() as tx:
        row = listings.of_tenant(tx, public_id, tenant) if "\0" not in public_id else None
    if row is None:
        raise NotFoundError(f"No batch found with id '{public_id}'.")
    return row


def page(
    database: Database, tenant: str, *, most: int, after: str | None = None
) -> tuple[Sequence[Any], bool]:
    """A tenant's batches, newest first, from behind that one on; and whether there are more.

    Raises:
        NotFoundError: It has none of that name.
    """
    before = None if after is None else named(database, after, tenant).id
    with database.read() as tx:
        rows = listings.page(tx, most=most + 1, before=before, tenant=tenant)
    return rows[:most], len(rows) > most


def is_cancelled(row: Any) -> bool:
    """Whether a batch was cancelled already, or is being."""
    is_ending = row.state in (BatchState.CANCELLING, BatchState.FINALIZING, BatchState.CANCELLED)
    return bool(is_ending and row.final_state == BatchState.CANCELLED)
