"""what runs by itself: schedules, clean-up, reports, health, training data, retention

Revision: 0008, after 0007
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _schedules()
    _alerts()
    _health()
    _reports()
    _training()
    _cache_worth()
    _retention()
    _corrections()


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


def _alerts() -> None:
    """Alerts are of budgets no longer: a table for all kinds, with what those of budgets said, under the same ids."""
    op.create_table(
        "alerts",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        sa.UniqueConstraint(
            "topic", "subject", "kind", "occasion", name=op.f("uq_alerts_topic_subject_kind_occasion")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_alerts_at_ms", "alerts", ["at_ms"])
    connection = op.get_bind()
    told = [_as_alert(row) for row in connection.execute(sa.text(_BUDGET_ALERTS))]
    if told:
        connection.execute(
            sa.text(
                "INSERT INTO alerts (id, topic, kind, subject, occasion, at_ms, facts)"
                " VALUES (:id, 'budget', :kind, :subject, :occasion, :at_ms, :facts)"
            ),
            told,
        )
        _count_on("alerts", told[-1]["id"])
    op.drop_table("budget_alerts")


_BUDGET_ALERTS = """
SELECT a.id, a.period_id, a.kind, a.detail, a.at_ms, a.spent_nanos, a.limit_nanos, p.start_ms, p.end_ms,
       b.id AS budget_id, b.scope, b.name, b.period, b.zone, b.on_limit, b.origin
FROM budget_alerts a JOIN budget_periods p ON p.id = a.period_id JOIN budgets b ON b.id = p.budget_id
ORDER BY a.id
"""


def _as_alert(row: Any) -> dict[str, Any]:
    facts = {name: getattr(row, name) for name in ("period_id", "detail", "spent_nanos", "limit_nanos")}
    facts |= {"start_ms": row.start_ms, "end_ms": row.end_ms}
    budget = {name: getattr(row, name) for name in ("scope", "name", "period", "zone", "on_limit", "origin")}
    return {
        "id": row.id,
        "kind": row.kind,
        "subject": str(row.budget_id),
        "occasion": f"{row.period_id}:{row.detail}",
        "at_ms": row.at_ms,
        "facts": json.dumps(facts | {"budget": budget | {"id": row.budget_id}}),
    }


def _count_on(table: str, last: int) -> None:
    """The next id that is given out is none of those just written; SQLite sees to it by itself."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {last})")


def _budget_alerts() -> None:
    """Those of budgets alone, as it was."""
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
    op.create_index("ix_budget_alerts_at_ms", "budget_alerts", ["at_ms"])
    connection = op.get_bind()
    told = connection.execute(sa.text("SELECT id, kind, at_ms, facts FROM alerts WHERE topic = 'budget'"))
    rows = [{"id": row.id, "kind": row.kind, "at_ms": row.at_ms, **json.loads(row.facts)} for row in told]
    if rows:
        connection.execute(
            sa.text(
                "INSERT INTO budget_alerts (id, period_id, kind, detail, at_ms, spent_nanos, limit_nanos)"
                " VALUES (:id, :period_id, :kind, :detail, :at_ms, :spent_nanos, :limit_nanos)"
            ),
            rows,
        )
        _count_on("budget_alerts", max(row["id"] for row in rows))
    op.execute("DELETE FROM alert_deliveries WHERE alert_id NOT IN (SELECT id FROM budget_alerts)")
    op.drop_table("alerts")


def _health() -> None:
    op.create_table(
        "health_states",
        sa.Column("component", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), server_default="", nullable=False),
        sa.Column("took_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("checked_ms", sa.BigInteger(), nullable=False),
        sa.Column("round_ms", sa.BigInteger(), nullable=False),
        sa.Column("told_level", sa.Text(), nullable=False),
        sa.Column("ill_since_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("component", name=op.f("pk_health_states")),
    )
    op.create_table(
        "health_changes",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("component", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_health_changes")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_health_changes_component_id", "health_changes", ["component", "id"])


def _reports() -> None:
    op.create_table(
        "installation",
        sa.Column("one", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.CheckConstraint("one = 1", name=op.f("ck_installation_single")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_installation")),
    )
    op.create_table(
        "reports",
        sa.Column("id", BigId, autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reports")),
        sa.UniqueConstraint("kind", "start_ms", name=op.f("uq_reports_kind_start_ms")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reports_name", "reports", ["name"])
    op.create_table(
        "report_deliveries",
        sa.Column("report_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_try_ms", sa.BigInteger(), nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("report_id", "recipient", name=op.f("pk_report_deliveries")),
    )


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


def _cache_worth() -> None:
    """What an entry is worth is told by its row: no look at the answers, which are large.

    Whether an answer ever had a second entry cannot be told any more: one that is gone may have counted those who
    point to it. So all that there are may have had one, and take no answer with them; these go with their lines.
    """
    op.add_column(
        "cache_entries", sa.Column("answer_bytes", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column("cache_entries", sa.Column("cost_nanos", sa.BigInteger(), nullable=True))
    op.add_column(
        "cache_entries", sa.Column("is_shared", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    size = (
        "octet_length(body)" if op.get_bind().dialect.name == "postgresql" else "length(CAST(body AS BLOB))"
    )
    op.execute(
        f"UPDATE cache_entries SET answer_bytes = coalesce((SELECT {size} FROM answers"
        " WHERE answers.id = cache_entries.answer_id), 0), cost_nanos = (SELECT cost_nanos FROM attempts"
        " WHERE attempts.id = cache_entries.answer_id), is_shared = true"
    )


def _retention() -> None:
    for name in ("removed_ms", "cleared_ms", "rolled_ms"):
        op.add_column("batches", sa.Column(name, sa.BigInteger(), nullable=True))
    for name in ("removed_nanos", "removed_overrun_nanos"):
        op.add_column("budget_periods", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "orphans",
        sa.Column("answer_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("answer_id", name=op.f("pk_orphans")),
    )
    texts = ("job_name", "request_type", "user_id", "agent")
    named = ("endpoint", "tenant", "provider", "model", "selection_mode")
    counted = ("requests", "calls", "failed", "hits", "corrections", "unpriced")
    tokens = ("input", "cached", "cache_write", "output", "reasoning", "audio")
    op.create_table(
        "ledger_days",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("cohort", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Text(), server_default="", nullable=False) for name in texts),
        *(sa.Column(name, sa.Text(), nullable=False) for name in named),
        *(
            sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
            for name in (*counted, *(f"{kind}_tokens" for kind in tokens))
        ),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=True),
        sa.Column("latency_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_ledger_days")),
    )
    op.create_index("ix_ledger_days_at_ms", "ledger_days", ["at_ms"])


def _corrections() -> None:
    """They are few among many entries, and whoever adds a period up asks for all that came since."""
    is_correction = sa.text("kind = 'correction'")
    op.create_index(
        "ix_ledger_corrections",
        "ledger",
        ["at_ms", "attempt_id"],
        postgresql_where=is_correction,
        sqlite_where=is_correction,
    )


def downgrade() -> None:
    op.drop_index("ix_ledger_corrections", "ledger")
    op.drop_table("ledger_days")
    op.drop_table("orphans")
    for name in ("removed_overrun_nanos", "removed_nanos"):
        op.drop_column("budget_periods", name)
    for name in ("rolled_ms", "cleared_ms", "removed_ms"):
        op.drop_column("batches", name)
    op.drop_column("cache_entries", "is_shared")
    op.drop_column("cache_entries", "cost_nanos")
    op.drop_column("cache_entries", "answer_bytes")
    op.drop_table("health_changes")
    op.drop_table("health_states")
    _budget_alerts()
    op.drop_table("report_deliveries")
    op.drop_index("ix_reports_name", "reports")
    op.drop_table("reports")
    op.drop_table("installation")
    op.drop_table("marks")
    op.drop_table("schedule_runs")
    op.drop_table("schedules")
