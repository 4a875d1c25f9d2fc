"""API keys: whose they are, what they may, and until when; of the keys themselves only hashes."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, insert, or_, select, update

from db.engine import Transaction
from db.tables import api_keys

NOTED_EVERY_MS = 60_000
"""How exactly the last use of a key is known."""

_key = api_keys.c
_newest_first = select(api_keys).order_by(_key.id.desc())


def add(
    tx: Transaction,
    *,
    public_id: str,
    hash: str,
    tenant: str,
    scope: str,
    name: str = "",
    expires_ms: int | None = None,
) -> Any:
    """Enter a new key; its row."""
    added = insert(api_keys).values(
        public_id=public_id,
        hash=hash,
        tenant=tenant,
        scope=scope,
        name=name,
        expires_ms=expires_ms,
        created_ms=tx.now_ms,
    )
    return tx.rows(added.returning(*_key))[0]


def named(tx: Transaction, public_id: str) -> Any | None:
    """The key of exactly that id, whether it still counts or not."""
    found = tx.rows(select(api_keys).where(_key.public_id == public_id))
    return found[0] if found else None


def beginning(tx: Transaction, prefix: str, most: int) -> Sequence[Any]:
    """The newest keys, up to so many, whose ids begin so."""
    return tx.rows(_newest_first.where(_key.public_id.startswith(prefix, autoescape=True)).limit(most))


def page(
    tx: Transaction,
    *,
    most: int,
    before: int | None = None,
    tenant: str | None = None,
    ended_too: bool = False,
) -> Sequence[Any]:
    """The newest keys, up to so many.

    Args:
        before: Only keys older than the one with this row number.
        ended_too: Also those that are revoked or expired.
    """
    wanted = _newest_first.limit(most)
    if before is not None:
        wanted = wanted.where(_key.id < before)
    if tenant is not None:
        wanted = wanted.where(_key.tenant == tenant)
    if not ended_too:
        wanted = wanted.where(_key.revoked_ms.is_(None), _is_unexpired(tx.now_ms))
    return tx.rows(wanted)


def revoke(tx: Transaction, key: int) -> bool:
    """Let a key count no more, for ever; False when it was revoked before, which stays when it was."""
    return (
        tx.run(update(api_keys).where(_key.id == key, _key.revoked_ms.is_(None)), revoked_ms=tx.now_ms) == 1
    )


def note_use(tx: Transaction, key: int) -> bool:
    """Remember that a key was used just now; False when one remembers that of the last minute."""
    is_due = or_(_key.last_used_ms.is_(None), _key.last_used_ms <= tx.now_ms - NOTED_EVERY_MS)
    return tx.run(update(api_keys).where(_key.id == key, is_due), last_used_ms=tx.now_ms) == 1


def _is_unexpired(now_ms: int) -> ColumnElement[bool]:
    return or_(_key.expires_ms.is_(None), _key.expires_ms > now_ms)
