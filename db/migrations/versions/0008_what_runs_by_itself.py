"""what runs by itself: schedules, clean-up, reports, health, training data, retention

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _schedules()
    _training()


def _schedules() -> None:
    op.create_table(
        "schedules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), server_default="", nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_schedules")),
    )
    op.create_table(
        "schedule_runs",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("due_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_try_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("owner", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("job", "due_ms", name=op.f("pk_schedule_runs")),
    )
    op.create_index("ix_schedule_runs_started_ms", "schedule_runs", ["started_ms"])


def _training() -> None:
    op.create_table(
        "marks",
        sa.Column("answer_id", BigId, autoincrement=False, nullable=False),
        sa.Column("request_id", sa.BigInteger(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=True),
        sa.Column("verified", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("tags", sa.Text(), server_default="", nullable=False),
        sa.Column("marked_by", sa.Text(), server_default="", nullable=False),
        sa.Column("marked_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("answer_id", name=op.f("pk_marks")),
    )
    op.create_index("ix_marks_worth", "marks", ["verified", "rating", "answer_id"])
    op.create_index("ix_marks_marked_ms", "marks", ["marked_ms", "answer_id"])


def downgrade() -> None:
    op.drop_table("marks")
    op.drop_table("schedule_runs")
    op.drop_table("schedules")
