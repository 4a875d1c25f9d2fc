"""routing: whose models are asked, what lines want of that, circuits, paths

Revision: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("routing", sa.Text(), server_default="", nullable=False))
    op.add_column("inputs", sa.Column("provider", sa.Text(), server_default="openai", nullable=False))
    op.add_column("inputs", sa.Column("routing", sa.Text(), server_default="", nullable=False))
    op.add_column(
        "requests", sa.Column("is_auto", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("catalogue", sa.Column("fallback", sa.Text(), server_default="", nullable=False))
    op.create_table(
        "paths",
        sa.Column("request_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("steps", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_paths")),
    )
    op.create_table(
        "circuits",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("opened_times", sa.Integer(), nullable=False),
        sa.Column("open_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("probe_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("counts_from_ms", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("provider", "model", name=op.f("pk_circuits")),
    )


def downgrade() -> None:
    op.drop_table("circuits")
    op.drop_table("paths")
    op.drop_column("catalogue", "fallback")
    op.drop_column("requests", "is_auto")
    op.drop_column("inputs", "routing")
    op.drop_column("inputs", "provider")
    op.drop_column("batches", "routing")
