"""Idempotency: what came of a request that its sender gave a name, so that it may be sent twice."""

from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from db.bulk import INT
from db.engine import Transaction
from db.tables import idempotency

_old = delete(idempotency).where(idempotency.c.created_ms < bindparam("before_ms", type_=INT))


def recall(tx: Transaction, tenant: str, key: str) -> Any | None:
    """What came of the request of that name: a row with its `fingerprint` and `resource`."""
    found = tx.rows(select(idempotency).where(idempotency.c.tenant == tenant, idempotency.c.key == key))
    return found[0] if found else None


def note(tx: Transaction, tenant: str, key: str, *, fingerprint: str, resource: str) -> bool:
    """Note what comes of the request of that name; False when another is noted by now. Waits for one being noted."""
    insert = postgresql.insert if tx.dialect == "postgresql" else sqlite.insert
    noting = insert(idempotency).values(
        tenant=tenant, key=key, fingerprint=fingerprint, resource=resource, created_ms=tx.now_ms
    )
    return bool(tx.rows(noting.on_conflict_do_nothing().returning(idempotency.c.key)))


def forget(tx: Transaction, older_than_ms: int) -> int:
    """Forget what is older than that; how many."""
    return tx.run(_old, before_ms=tx.now_ms - older_than_ms)
