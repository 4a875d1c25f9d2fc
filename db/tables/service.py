"""Tables of the HTTP service: files, keys, and what batches handed in over HTTP have beside."""

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, text

from db.tables.base import BigId, count_column, metadata, text_column

batch_faults = Table(
    "batch_faults",
    metadata,
    # What was wrong with the file of a batch handed in over HTTP, in the order in which it was found.
    Column("batch_id", BigInteger, primary_key=True, autoincrement=False),
    Column("nth", Integer, primary_key=True, autoincrement=False),
    # NULL = the file as a whole.
    Column("line", BigInteger),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("param", Text),
)

files = Table(
    "files",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("public_id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("filename", Text, nullable=False),
    # uploading: somebody writes it, or was killed while doing so · processed: whole, and never changed again ·
    # deleted: gone for everyone, and still to be removed from the store
    Column("state", Text, nullable=False),
    count_column("bytes"),
    text_column("sha256"),
    Column("created_ms", BigInteger, nullable=False),
    Column("touched_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    sqlite_autoincrement=True,
)
Index("ix_files_tenant_id", files.c.tenant, files.c.id)
Index(
    "ix_files_unfinished",
    files.c.state,
    postgresql_where=text("state <> 'processed'"),
    sqlite_where=text("state <> 'processed'"),
)
Index(
    "ix_files_expires_ms",
    files.c.expires_ms,
    postgresql_where=text("expires_ms IS NOT NULL"),
    sqlite_where=text("expires_ms IS NOT NULL"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    # What the key begins with, and what it is called by; the key itself is kept nowhere.
    Column("public_id", Text, nullable=False, unique=True),
    text_column("name"),
    Column("tenant", Text, nullable=False),
    # producer or admin
    Column("scope", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("last_used_ms", BigInteger),
    sqlite_autoincrement=True,
)

idempotency = Table(
    "idempotency",
    metadata,
    # What came of a request that may be sent twice, by the name its sender gave it.
    Column("tenant", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    # Of what was sent: the same name for something else is a mistake.
    Column("fingerprint", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False, index=True),
)

webhooks = Table(
    "webhooks",
    metadata,
    # What a batch owes its producer: to be told how it ended.
    Column("batch_id", BigInteger, primary_key=True, autoincrement=False),
    Column("url", Text, nullable=False),
    # waiting: the batch goes on · pending · sent · given_up
    Column("state", Text, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    # When its batch ended.
    Column("due_ms", BigInteger),
    Column("next_try_ms", BigInteger, nullable=False, server_default="0"),
    Column("lease_until_ms", BigInteger, nullable=False, server_default="0"),
    Column("sent_ms", BigInteger),
    text_column("error"),
)
Index(
    "ix_webhooks_pending",
    webhooks.c.next_try_ms,
    postgresql_where=text("state = 'pending'"),
    sqlite_where=text("state = 'pending'"),
)
