"""the catalogue: models, prices, tiers

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "catalogue",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("input_nanos_per_mtok", sa.BigInteger(), nullable=True),
        sa.Column("cached_input_nanos_per_mtok", sa.BigInteger(), nullable=True),
        sa.Column("output_nanos_per_mtok", sa.BigInteger(), nullable=True),
        sa.Column("nanos_per_request", sa.BigInteger(), nullable=True),
        sa.Column("quality", sa.Float(), nullable=True),
        sa.Column("latency_ms", sa.BigInteger(), nullable=True),
        sa.Column("context_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_cap_tokens", sa.BigInteger(), nullable=True),
        sa.Column("capabilities", sa.Text(), server_default="", nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("notes", sa.Text(), server_default="", nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("is_active OR NOT is_default", name=op.f("ck_catalogue_default_is_active")),
        sa.PrimaryKeyConstraint("provider", "model", name=op.f("pk_catalogue")),
    )
    op.create_index(
        "ix_catalogue_default_of_tier",
        "catalogue",
        ["tier"],
        unique=True,
        postgresql_where=sa.text("is_default"),
        sqlite_where=sa.text("is_default"),
    )


def downgrade() -> None:
    op.drop_table("catalogue")
