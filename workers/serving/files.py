"""Files as the service keeps them: taken in as they stream by, hashed and counted, whole or not at all."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Self

import structlog

from batchmill.errors import BatchmillError, ConflictError, NotFoundError, QuotaError, TooLargeError
from batchmill.files.model import new_file_id
from batchmill.files.store import Store
from batchmill.requests.jsonl import MB
from db import files
from db.engine import Database, Transaction

log = structlog.get_logger()

TOUCH_EVERY_BYTES = 64 * MB
TOUCH_EVERY_S = 60.0
ABANDONED_AFTER_MS = 3_600_000
REMOVED_A_STEP = 100


class Upload:
    """A file being taken in: written, sealed, entered into the database. It is gone without a trace when the `with`
    block ends before that transaction is committed; what was committed stays, even if nobody was told so.

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
        self._touched_size = 0
        self._touched_s = time.monotonic()
        self._hash = hashlib.sha256()
        self._description: dict[str, Any] = {}
        with database.write() as tx:
            self.row = files.begin(
                tx,
                public_id=new_file_id(),
                tenant=tenant,
                purpose=purpose,
                filename=filename,
                expires_ms=None if expires_s is None else tx.now_ms + expires_s * 1000,
            )
            self._room = self._room_left(tx)
            if self._room is not None and self._room <= 0:
                raise self._no_room()
        try:
            self._writing = store.write(self.row.public_id)
        except BaseException:
            with suppress(BatchmillError), database.write() as tx:  # there is no object yet
                files.give_up(tx, self.row.id)
                files.forget(tx, self.row.id)
            raise

    def __enter__(self) -> Self:
        return self

    def write(self, chunk: bytes | bytearray) -> None:
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
        now_s = time.monotonic()
        if self._size - self._touched_size > TOUCH_EVERY_BYTES or now_s - self._touched_s > TOUCH_EVERY_S:
            self._touched_size, self._touched_s = self._size, now_s
            self._touch()

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
        if self._quota_bytes is not None:
            files.lock_quota(tx, self.row.tenant)  # nobody comes in beside it
        row = files.finish(tx, self.row.id, size=self._size, sha256=self.sha256, **self._description)
        if row is None:
            raise _given_up()
        room = self._room_left(tx)
        if room is not None and room < self._size:
            raise self._no_room()
        return row

    def __exit__(self, *_: object) -> None:
        self._writing.__exit__()
        self._remove()

    def _touch(self) -> None:
        """Show that it still comes, and see what others have come to meanwhile."""
        with self._database.write() as tx:
            if not files.touch(tx, self.row.id, self._size):
                raise _given_up()
            self._room = self._room_left(tx)

    def _room_left(self, tx: Transaction) -> int | None:
        """How large it may become; None = as large as it likes."""
        if self._quota_bytes is None:
            return None
        return self._quota_bytes - files.used_bytes(tx, self.row.tenant, but=self.row.id)

    def _remove(self) -> None:
        """Remove it, unless it has been entered: a commit may have been made that we were not told of."""
        with suppress(BatchmillError):  # what cannot be removed now is by a later clean-up
            with self._database.write() as tx:
                is_ours = files.give_up(tx, self.row.id)
            if is_ours:
                remove(self._database, self._store, self.row)

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
        row = files.named(tx, public_id, tenant) if "\0" not in public_id else None
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
        remove(database, store, row)


def clean_up(database: Database, store: Store) -> int:
    """Remove what has expired, what was deleted, and what was left half-written; how many.

    One that cannot be removed keeps no other from it.
    """
    for drop in (files.drop_expired, _drop_abandoned):
        while True:
            with database.write() as tx:
                dropped = drop(tx, REMOVED_A_STEP)
            if dropped < REMOVED_A_STEP:
                break
    removed = after = 0
    while True:
        with database.read() as tx:
            rows = files.dropped(tx, after=after, most=REMOVED_A_STEP)
        removed += sum(_try_to_remove(database, store, row) for row in rows)
        if len(rows) < REMOVED_A_STEP:
            return removed
        after = rows[-1].id


def remove(database: Database, store: Store, row: Any) -> None:
    """Remove the object of a file that was dropped, then its row.

    Raises:
        BatchmillError: It could not be done now.
    """
    store.delete(row.public_id)
    with database.write() as tx:
        files.forget(tx, row.id)


def _drop_abandoned(tx: Transaction, most: int) -> int:
    return files.drop_abandoned(tx, idle_ms=ABANDONED_AFTER_MS, most=most)


def _try_to_remove(database: Database, store: Store, row: Any) -> bool:
    try:
        remove(database, store, row)
    except BatchmillError as error:
        log.warning("file_not_removed", file=row.public_id, code=error.code, error=error.message)
        return False
    return True
