"""Files as the service keeps them: taken in as they stream by, hashed and counted, whole or not at all."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Self

from batchmill.errors import BatchmillError, ConflictError, NotFoundError, QuotaError, TooLargeError
from batchmill.files.model import FileState, new_file_id
from batchmill.files.store import Store, Writing
from batchmill.requests.jsonl import MB
from db import files
from db.engine import Database, Transaction

TOUCH_EVERY_BYTES = 64 * MB
ABANDONED_AFTER_MS = 3_600_000
REMOVED_A_STEP = 100


class Upload:
    """A file being taken in: written, sealed, entered into the database, kept. It is gone without a trace when the
    `with` block ends before that.

    Not for two threads at once.

    Args:
        most_bytes: The largest file that is taken.
        quota_bytes: The most that all files of its tenant may take.

    Raises:
        TooLargeError: It is larger than that.
        QuotaError: It does not fit into what its tenant may still keep.
        StoreError: The store does not take it.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        *,
        tenant: str,
        purpose: str,
        filename: str,
        expires_s: int | None = None,
        most_bytes: int | None = None,
        quota_bytes: int | None = None,
    ) -> None:
        self._database = database
        self._store = store
        self._most_bytes = most_bytes
        self._quota_bytes = quota_bytes
        self._size = 0
        self._touched_at = 0
        self._hash = hashlib.sha256()
        self._is_whole = False
        self._description: dict[str, Any] = {}
        with database.write() as tx:
            self._room = None if quota_bytes is None else quota_bytes - files.used_bytes(tx, tenant)
            if self._room is not None and self._room <= 0:
                raise self._no_room()
            self.row = files.begin(
                tx,
                public_id=new_file_id(),
                tenant=tenant,
                purpose=purpose,
                filename=filename,
                expires_ms=None if expires_s is None else tx.now_ms + expires_s * 1000,
            )
        try:
            self._writing: Writing = store.write(self.row.public_id)
        except BaseException:
            self._forget()
            raise

    def __enter__(self) -> Self:
        return self

    def write(self, chunk: bytes) -> None:
        """Append."""
        self._size += len(chunk)
        if self._most_bytes is not None and self._size > self._most_bytes:
            raise TooLargeError(
                f"the file is larger than {self._most_bytes / MB:,g} MB, the most that is taken",
                "split it, or raise BATCHMILL_MAX_FILE_MB",
            )
        if self._room is not None and self._size > self._room:
            raise self._no_room()
        self._hash.update(chunk)
        self._writing.write(chunk)
        if self._size - self._touched_at > TOUCH_EVERY_BYTES:
            self._touched_at = self._size
            with self._database.write() as tx:
                if not files.touch(tx, self.row.id, self._size):
                    raise _given_up()

    def describe(self, *, purpose: str, filename: str, expires_s: int | None) -> None:
        """Say what it is, where that was not known when it began to come."""
        self._description = {"purpose": purpose, "filename": filename, "expires_s": expires_s}

    @property
    def sha256(self) -> str:
        """Of what has been written so far, in hex."""
        return self._hash.hexdigest()

    def seal(self) -> None:
        """All of it is written; see to it that it stays. It is still not to be seen."""
        self._writing.finish()

    def enter(self, tx: Transaction) -> Any:
        """Let the sealed file be seen from the end of this transaction on; its row."""
        row = files.finish(tx, self.row.id, size=self._size, sha256=self.sha256, **self._description)
        if row is None:
            raise _given_up()
        if self._quota_bytes is not None and files.used_bytes(tx, row.tenant) > self._quota_bytes:
            raise self._no_room()  # others came in beside it
        return row

    def keep(self) -> None:
        """The transaction that it was entered in is committed: it stays."""
        self._is_whole = True

    def __exit__(self, *_: object) -> None:
        if self._is_whole:
            return
        self._writing.__exit__()
        with suppress(BatchmillError):
            self._store.delete(self.row.public_id)
            self._forget()

    def _forget(self) -> None:
        with suppress(BatchmillError), self._database.write() as tx:
            files.forget(tx, self.row.id)

    def _no_room(self) -> QuotaError:
        quota = (self._quota_bytes or 0) / MB
        return QuotaError(
            f"there is no room for this file: all files together may take {quota:,g} MB",
            "delete some, or raise BATCHMILL_FILES_QUOTA_MB",
        )


def _given_up() -> ConflictError:
    return ConflictError("the file was given up, as nothing of it came for an hour", "upload it again")


def named(database: Database, public_id: str, tenant: str) -> Any:
    """The row of a tenant's file.

    Raises:
        NotFoundError: It has none of that name.
    """
    with database.read() as tx:
        row = files.named(tx, public_id, tenant)
    if row is None:
        raise NotFoundError(f"No such File object: {public_id}", "")
    return row


def page(
    database: Database,
    tenant: str,
    *,
    most: int,
    after: str | None = None,
    purpose: str | None = None,
    is_ascending: bool = False,
) -> tuple[Sequence[Any], bool]:
    """A tenant's files from behind that one on, and whether there are more.

    Raises:
        NotFoundError: It has none of that name.
    """
    behind = None if after is None else named(database, after, tenant).id
    with database.read() as tx:
        rows = files.page(tx, tenant, most=most + 1, after=behind, purpose=purpose, is_ascending=is_ascending)
    return rows[:most], len(rows) > most


def content(store: Store, row: Any, first: int = 0, length: int | None = None) -> Iterator[bytes]:
    """What is in a file, or a part of it, in chunks."""
    return store.read(row.public_id, first, length)


def delete(database: Database, store: Store, public_id: str, tenant: str) -> None:
    """Remove a tenant's file; a batch that is already reading it ends that first, or fails.

    Raises:
        NotFoundError: It has none of that name.
    """
    row = named(database, public_id, tenant)
    with database.write() as tx:
        files.drop(tx, row.id)
    with suppress(BatchmillError):  # what cannot be removed now is by the next clean-up
        _remove(database, store, row)


def clean_up(database: Database, store: Store) -> int:
    """Remove what has expired, what was deleted, and what was left half-written; how many."""
    with database.write() as tx:
        files.drop_expired(tx, REMOVED_A_STEP)
    with database.read() as tx:
        rows = files.to_remove(tx, idle_ms=ABANDONED_AFTER_MS, most=REMOVED_A_STEP)
    for row in rows:
        if row.state == FileState.UPLOADING:
            with database.write() as tx:
                files.drop(tx, row.id)
        _remove(database, store, row)
    return len(rows)


def _remove(database: Database, store: Store, row: Any) -> None:
    store.delete(row.public_id)
    with database.write() as tx:
        files.forget(tx, row.id)
