"""service: files, API keys, webhooks, batches handed in over HTTP

Revision: 0007, after 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXTS = ("input_file", "output_file", "error_file", "metadata", "model", "usage", "clerk")
TABLES = ("batch_faults", "files", "api_keys", "idempotency", "webhooks")


def upgrade() -> None:
    for name in TEXTS:
        op.add_column("batches", sa.Column(name, sa.Text(), server_default="", nullable=False))
    for name in ("window_s", "output_expires_s", "cancelling_ms"):
        op.add_column("batches", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column(
        "batches", sa.Column("is_direct", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("batches", sa.Column("clerk_until_ms", sa.BigInteger(), server_default="0", nullable=False))
    _index("ix_batches_of_tenant", "batches", ["tenant", "id"], "NOT is_direct")
    op.create_table(
        "batch_faults",
        sa.Column("batch_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("nth", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("param", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("batch_id", "nth", name=op.f("pk_batch_faults")),
    )
    op.create_table(
        "files",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sha256", sa.Text(), server_default="", nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("touched_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
        sa.UniqueConstraint("public_id", name=op.f("uq_files_public_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_files_tenant_id", "files", ["tenant", "id"])
    _index("ix_files_unfinished", "files", ["state"], "state <> 'processed'")
    _index("ix_files_expires_ms", "files", ["expires_ms"], "expires_ms IS NOT NULL")
    op.create_table(
        "api_keys",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_used_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("public_id", name=op.f("uq_api_keys_public_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "idempotency",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name=op.f("pk_idempotency")),
    )
    op.create_index("ix_idempotency_created_ms", "idempotency", ["created_ms"])
    op.create_table(
        "webhooks",
        sa.Column("batch_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_ms", sa.BigInteger(), nullable=True),
        sa.Column("next_try_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sent_ms", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_webhooks")),
    )
    _index("ix_webhooks_pending", "webhooks", ["next_try_ms"], "state = 'pending'")


def _index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_index("ix_batches_of_tenant", "batches")
    for name in (
        "clerk_until_ms",
        "is_direct",
        "cancelling_ms",
        "output_expires_s",
        "window_s",
        *reversed(TEXTS),
    ):
        op.drop_column("batches", name)
