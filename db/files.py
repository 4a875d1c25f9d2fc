"""Files: which there are, whose they are, which of them are whole.

A row comes before its object and goes after it, so that whatever is in the store has a row by which it can be removed.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, exists, func, insert, select, text, update

from batchmill.files.model import FileState
from db.bulk import INT
from db.engine import Transaction
from db.tables import batches, files, word

_is_there = files.c.state == FileState.PROCESSED
_expired = (
    select(files.c.id)
    .where(files.c.expires_ms.is_not(None), files.c.expires_ms <= bindparam("now_ms", type_=INT), _is_there)
    .limit(bindparam("most", type_=INT))
)
# As literal words: the partial index on what is unfinished serves only what says so.
_abandoned = (
    select(files.c.id)
    .where(
        text("state <> 'processed'"),
        files.c.state == word(FileState.UPLOADING),
        files.c.touched_ms < bindparam("before_ms", type_=INT),
    )
    .limit(bindparam("most", type_=INT))
)
_dropped = (
    select(files)
    .where(
        text("state <> 'processed'"),
        files.c.state == word(FileState.DELETED),
        files.c.id > bindparam("after", type_=INT),
    )
    .order_by(files.c.id)
    .limit(bindparam("most", type_=INT))
)
_old = (
    select(files.c.id)
    .where(
        _is_there,
        files.c.expires_ms.is_(None),
        files.c.created_ms <= bindparam("before_ms", type_=INT),
        files.c.id > bindparam("after", type_=INT),
    )
    .order_by(files.c.id)
    .limit(bindparam("most", type_=INT))
)
_is_read = exists(
    select(1).where(batches.c.ended_ms.is_(None), batches.c.input_file == files.c.public_id)
).correlate(files)
_lock_quota = text("SELECT pg_advisory_xact_lock(hashtextextended(:tenant, 7))")


def begin(
    tx: Transaction,
    *,
    public_id: str,
    tenant: str,
    purpose: str,
    filename: str,
    expires_ms: int | None = None,
) -> Any:
    """A new file that is being written; its row."""
    return tx.rows(
        insert(files)
        .values(
            public_id=public_id,
            tenant=tenant,
            purpose=purpose,
            filename=filename,
            state=FileState.UPLOADING,
            created_ms=tx.now_ms,
            touched_ms=tx.now_ms,
            expires_ms=expires_ms,
        )
        .returning(*files.c)
    )[0]


def touch(tx: Transaction, file: int, size: int) -> bool:
    """Show that a file is still being written; False when it was given up meanwhile."""
    written = update(files).where(files.c.id == file, files.c.state == FileState.UPLOADING)
    return tx.run(written.values(touched_ms=tx.now_ms, bytes=size)) == 1


def finish(
    tx: Transaction,
    file: int,
    *,
    size: int,
    sha256: str,
    purpose: str | None = None,
    filename: str | None = None,
    expires_s: int | None = None,
) -> Any | None:
    """A file is whole from here on; its row. None when it was given up meanwhile.

    Args:
        purpose, filename, expires_s: Where these were not known when it began to come.
    """
    values: dict[str, Any] = {"state": FileState.PROCESSED, "bytes": size, "sha256": sha256}
    if purpose is not None:
        values["purpose"] = purpose
    if filename is not None:
        values["filename"] = filename
    if expires_s is not None:
        values["expires_ms"] = files.c.created_ms + expires_s * 1000
    found = tx.rows(
        update(files)
        .where(files.c.id == file, files.c.state == FileState.UPLOADING)
        .values(touched_ms=tx.now_ms, **values)
        .returning(*files.c)
    )
    return found[0] if found else None


def named(tx: Transaction, public_id: str, tenant: str | None = None) -> Any | None:
    """The file of that name, if it is there and not expired.

    Args:
        tenant: Whose it has to be; None = anybody's.
    """
    wanted = select(files).where(files.c.public_id == public_id, _is_there)
    if tenant is not None:
        wanted = wanted.where(files.c.tenant == tenant)
    found = tx.rows(wanted.where(files.c.expires_ms.is_(None) | (files.c.expires_ms > tx.now_ms)))
    return found[0] if found else None


def page(
    tx: Transaction,
    tenant: str,
    *,
    most: int,
    after: int | None = None,
    purpose: str | None = None,
    is_ascending: bool = False,
) -> Sequence[Any]:
    """A tenant's files, up to so many, from behind that row on, oldest or newest first."""
    wanted = select(files).where(files.c.tenant == tenant, _is_there).limit(most)
    wanted = wanted.where(files.c.expires_ms.is_(None) | (files.c.expires_ms > tx.now_ms))
    wanted = wanted.order_by(files.c.id if is_ascending else files.c.id.desc())
    if purpose is not None:
        wanted = wanted.where(files.c.purpose == purpose)
    if after is not None:
        wanted = wanted.where(files.c.id > after if is_ascending else files.c.id < after)
    return tx.rows(wanted)


def newest(tx: Transaction, most: int) -> Sequence[Any]:
    """The newest files that are there, whosever they are, up to so many."""
    return tx.rows(select(files).where(_is_there).order_by(files.c.id.desc()).limit(most))


def used_bytes(tx: Transaction, tenant: str, but: int | None = None) -> int:
    """How much a tenant's files take, those that are being written included, as far as they have come.

    Args:
        but: One that does not count.
    """
    counted = select(func.coalesce(func.sum(files.c.bytes), 0)).where(
        files.c.tenant == tenant, files.c.state != FileState.DELETED
    )
    if but is not None:
        counted = counted.where(files.c.id != but)
    return int(tx.rows(counted)[0][0])


def lock_quota(tx: Transaction, tenant: str) -> None:
    """See to it that until the end of this transaction no other file of that tenant becomes whole."""
    if tx.dialect == "postgresql":
        tx.rows(_lock_quota, tenant=tenant)


def drop(tx: Transaction, file: int) -> bool:
    """Let a file be gone for everyone; False when it was already. Its object is still to be removed, then its row."""
    dropped = update(files).where(files.c.id == file, files.c.state != FileState.DELETED)
    return tx.run(dropped.values(state=FileState.DELETED, touched_ms=tx.now_ms)) == 1


def give_up(tx: Transaction, file: int) -> bool:
    """The same for one that is not whole; False when it is, or was: whoever dropped it then removes its object."""
    given_up = update(files).where(files.c.id == file, files.c.state == FileState.UPLOADING)
    if tx.run(given_up.values(state=FileState.DELETED, touched_ms=tx.now_ms)) == 1:
        return True
    found = tx.rows(select(files.c.sha256).where(files.c.id == file))
    return not found or not found[0].sha256  # given up for it; the object may have come after that


def drop_expired(tx: Transaction, most: int) -> int:
    """Let files be gone whose time is up, up to so many; how many."""
    return _drop_all(tx, tx.rows(_expired, now_ms=tx.now_ms, most=most), _is_there)


def drop_abandoned(tx: Transaction, *, idle_ms: int, most: int) -> int:
    """Let files be gone that are not whole and that nobody has written to for so long; how many."""
    before_ms = tx.now_ms - idle_ms
    is_still = (files.c.state == FileState.UPLOADING) & (files.c.touched_ms < before_ms)
    return _drop_all(tx, tx.rows(_abandoned, before_ms=before_ms, most=most), is_still)


def old(tx: Transaction, *, before_ms: int, after: int, most: int) -> list[int]:
    """Whole files without an expiry that were made by then, up to so many from behind that row on."""
    return [row.id for row in tx.rows(_old, before_ms=before_ms, after=after, most=most)]


def drop_unread(tx: Transaction, ids: Sequence[int]) -> int:
    """Let those of these files be gone that no batch still reads; how many. Who makes a batch of one holds it."""
    held = select(files.c.id).where(files.c.id.in_(list(ids)), _is_there)
    free = [row.id for row in tx.rows(held.order_by(files.c.id).with_for_update(skip_locked=True))]
    # A statement of its own: it sees the batches of those who held them until just now.
    unread = update(files).where(files.c.id.in_(free), _is_there, ~_is_read)
    return tx.run(unread.values(state=FileState.DELETED, touched_ms=tx.now_ms))


def hold(tx: Transaction, public_id: str, tenant: str) -> bool:
    """Keep a file from being dropped for its age until this transaction ends; False when it is not there any more."""
    held = select(files.c.id).where(files.c.public_id == public_id, files.c.tenant == tenant, _is_there)
    return bool(tx.rows(held.with_for_update(read=True)))


def _drop_all(tx: Transaction, found: Sequence[Any], is_still: ColumnElement[bool]) -> int:
    """Drop those of which that still holds: one may have become whole meanwhile."""
    if found:
        still = update(files).where(files.c.id.in_([row.id for row in found]), is_still)
        tx.run(still.values(state=FileState.DELETED, touched_ms=tx.now_ms))
    return len(found)


def dropped(tx: Transaction, *, after: int, most: int) -> Sequence[Any]:
    """Files that are gone and whose objects may not be, in order, up to so many from behind that row on."""
    return tx.rows(_dropped, after=after, most=most)


def forget(tx: Transaction, file: int) -> None:
    """Remove the row of a dropped file whose object is gone."""
    tx.run(delete(files).where(files.c.id == file, files.c.state == FileState.DELETED))
