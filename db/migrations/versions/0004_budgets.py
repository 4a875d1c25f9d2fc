"""budgets: limits, their periods, holds, alerts

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLES = ("budgets", "budget_periods", "budget_alerts", "alert_deliveries", "hold_factors")


def upgrade() -> None:
    op.add_column("batches", sa.Column("waits_for_budget_id", sa.BigInteger()))
    op.add_column("batches", sa.Column("waits_for_nanos", sa.BigInteger()))
    op.add_column("batches", sa.Column("looked_up_to", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("batches", sa.Column("on_budget", sa.Text(), server_default="", nullable=False))
    op.add_column("attempts", sa.Column("held_on", sa.Text(), server_default="", nullable=False))
    op.create_table(
        "budgets",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("limit_nanos", sa.BigInteger(), nullable=False),
        sa.Column("thresholds", sa.Text(), nullable=False),
        sa.Column("on_limit", sa.Text(), nullable=False),
        sa.Column("downgrade_percent", sa.Integer(), server_default="100", nullable=False),
        sa.Column("allows_unpriced", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("removed_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budgets")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "budget_periods",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("budget_id", sa.BigInteger(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=True),
        sa.Column("opening_nanos", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("spent_nanos", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held_nanos", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unknown_nanos", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("overrun_nanos", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("limit_nanos", sa.BigInteger(), nullable=False),
        sa.Column("ceiling_nanos", sa.BigInteger(), nullable=False),
        sa.Column("alerted_percent", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("held_nanos >= 0", name=op.f("ck_budget_periods_nothing_held_twice")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget_periods")),
        sa.UniqueConstraint("budget_id", "start_ms", name=op.f("uq_budget_periods_budget_id_start_ms")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "budget_alerts",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("period_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("spent_nanos", sa.BigInteger(), nullable=False),
        sa.Column("limit_nanos", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget_alerts")),
        sa.UniqueConstraint(
            "period_id", "kind", "detail", name=op.f("uq_budget_alerts_period_id_kind_detail")
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "alert_deliveries",
        sa.Column("alert_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_try_ms", sa.BigInteger(), nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sent_ms", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("alert_id", "channel", name=op.f("pk_alert_deliveries")),
    )
    op.create_index("ix_budget_alerts_at_ms", "budget_alerts", ["at_ms"])
    op.create_index(
        "ix_alert_deliveries_pending",
        "alert_deliveries",
        ["channel", "next_try_ms"],
        postgresql_where=sa.text("state = 'pending'"),
        sqlite_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "hold_factors",
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "model", name=op.f("pk_hold_factors")),
    )
    op.create_index(
        "ix_budgets_in_force",
        "budgets",
        ["key", "period", "origin"],
        unique=True,
        postgresql_where=sa.text("removed_ms IS NULL"),
        sqlite_where=sa.text("removed_ms IS NULL"),
    )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_column("attempts", "held_on")
    op.drop_column("batches", "on_budget")
    op.drop_column("batches", "looked_up_to")
    op.drop_column("batches", "waits_for_nanos")
    op.drop_column("batches", "waits_for_budget_id")
