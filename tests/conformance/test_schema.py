"""The schema, on both databases."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from batchmill.alerts.delivery import ChannelName, DeliveryState
from batchmill.alerts.message import Topic
from batchmill.errors import DatabaseError
from batchmill.requests.ids import request_id
from db import alerts, cache_contents, schema
from db.engine import Database
from db.retention import lines, orphans
from tests.support.clocks import FakeClock
from tests.support.servers import PostgresCluster

SENT_MS = FakeClock().now_ms() - 1_000
HEALTH_FACTS = {"previous_level": "ok", "since_ms": SENT_MS, "message": "gone", "hint": ""}


def test_migrations_leave_nothing_out(database: Database) -> None:
    """After every migration the database is what the tables in the code say."""
    assert schema.drift(database) == []


def test_second_upgrade_finds_nothing_to_do(empty_url: str) -> None:
    """Upgrading again changes nothing, and says so."""
    database = Database(empty_url)
    assert [schema.upgrade(database), schema.upgrade(database)] == [True, False]
    assert schema.version(database) == schema.newest()
    database.close()


def test_four_upgrades_at_once(empty_url: str) -> None:
    """However many processes start on an empty database at once, each finds it upgraded."""
    databases = [Database(empty_url) for _ in range(4)]
    with ThreadPoolExecutor(len(databases)) as threads:
        list(threads.map(schema.upgrade, databases))
    assert [schema.version(database) for database in databases] == [schema.newest()] * 4
    assert schema.drift(databases[0]) == []
    for database in databases:
        database.close()


@pytest.mark.parametrize(
    ("version", "complaint"), [("9999", "does not know"), ("0000", "does not know"), (None, "is empty")]
)
def test_another_schema_is_refused(database: Database, version: str | None, complaint: str) -> None:
    """Code meets only its own schema: another one is refused, with what to do about it."""
    with database.write() as tx:
        tx.run(text("DELETE FROM alembic_version"))
        if version is not None:
            tx.run(text("INSERT INTO alembic_version VALUES (:version)"), version=version)
    with pytest.raises(DatabaseError, match=complaint) as refused:
        schema.check(database)
    assert refused.value.hint


def test_a_database_that_is_not_there(postgres: PostgresCluster) -> None:
    """A server without such a database is told apart from one that is down."""
    url = postgres.create(empty=True)
    postgres.drop(url)
    database = Database(url)
    with pytest.raises(DatabaseError, match="does not exist") as refused:
        schema.check(database)
    assert "DATABASE_URL" in refused.value.hint
    database.close()


def test_both_databases_get_the_same_tables(tmp_path: Path, postgres: object) -> None:
    """The migrations make the same columns, keys and indexes on SQLite and on PostgreSQL."""
    url = postgres.create(empty=True)  # type: ignore[attr-defined]
    shapes = []
    for database in (Database(f"sqlite:///{tmp_path / 'a.db'}"), Database(url)):
        schema.upgrade(database)
        found = inspect(database.engine)
        shapes.append(
            {
                table: (
                    [(column["name"], column["nullable"]) for column in found.get_columns(table)],
                    found.get_pk_constraint(table)["constrained_columns"],
                    sorted(unique["column_names"] for unique in found.get_unique_constraints(table)),
                    sorted(
                        (str(index["name"]), index["column_names"])
                        for index in found.get_indexes(table)
                        if not str(index["name"]).startswith("uq_")
                    ),
                )
                for table in sorted(found.get_table_names())
                if table != "alembic_version"
            }
        )
        database.close()
    assert shapes[0] == shapes[1]


def test_alerts_of_budgets_stay_what_they_were(empty_url: str) -> None:
    """What owners were told before alerts were of anything else is told as before, and delivered where it was not; an
    alert that fires now has a number of its own."""
    database = Database(empty_url, FakeClock())
    schema.upgrade(database, to="0007")
    with database.write() as tx:
        for statement in OLD_ALERTS:
            tx.run(text(statement))
    assert schema.upgrade(database)
    assert schema.drift(database) == []
    with database.write() as tx:
        alerts.fire(tx, Topic.BUDGET, "threshold", subject="3", occasion="5:90", facts={})  # was told
        alerts.fire(tx, Topic.HEALTH, "failing", subject="broker", occasion="1", facts=HEALTH_FACTS)
        (new, _), *told = alerts.listed(tx, most=9)
        owed = alerts.claim(tx, ChannelName.MAIL)
    assert new.id > 7
    assert [alert.verdict for alert, _ in told] == [
        "a call of gpt-4o cost more than was held for it on the daily budget of tenant acme: $6.00 of $5.00 used",
        "90 % of the daily budget of tenant acme used: $4.51 of $5.00",
    ]
    assert [[one.state for one in deliveries] for _, deliveries in told] == [[], [DeliveryState.SENT]]
    assert owed is not None
    assert (owed.alert.id, owed.alert.told().facts["period_end"]) == (7, "1970-01-02T00:00:00Z")
    database.close()


OLD_ALERTS = (
    "INSERT INTO budgets (id, scope, name, key, period, zone, origin, limit_nanos, thresholds, on_limit,"
    " downgrade_percent, created_ms, updated_ms) VALUES"
    " (3, 'tenant', 'acme', 'tenant:acme', 'day', 'UTC', 'command', 1, '90', 'pause', 100, 1, 1)",
    "INSERT INTO budget_periods (id, budget_id, start_ms, end_ms, limit_nanos, ceiling_nanos) VALUES"
    " (5, 3, 1, 86400000, 1, 1)",
    "INSERT INTO budget_alerts (id, period_id, kind, detail, at_ms, spent_nanos, limit_nanos) VALUES"
    f" (6, 5, 'threshold', '90', {SENT_MS}, 4510000000, 5000000000),"
    f" (7, 5, 'overrun', 'gpt-4o', {SENT_MS + 1}, 6000000000, 5000000000)",
    "INSERT INTO alert_deliveries (alert_id, channel, state, tries, next_try_ms, sent_ms) VALUES"
    f" (6, 'mail', 'sent', 1, {SENT_MS}, {SENT_MS})",
)


CACHED = (
    "INSERT INTO answers (id, body, provider, model, created_ms) VALUES (7, 'Füße', 'p', 'm', 1)",
    "INSERT INTO answers (id, provider, model, created_ms) VALUES (8, 'p', 'm', 1)",
    "INSERT INTO attempts (id, request_id, number, claim_id, worker_id, provider, model, state, reason, sent_ms,"
    " cost_nanos) VALUES (7, 4294967297, 1, 1, 'w', 'p', 'm', 'settled', 'first', 1, 42)",
    "INSERT INTO cache_entries (cache_key, answer_id, tenant, created_ms, expires_ms)"
    " VALUES ('a', 7, 't', 1, 2), ('b', 7, 't', 1, 2), ('c', 8, 't', 1, 2)",
)
"""Two questions to which one answer of four letters and six bytes stands, and one without a body."""


def test_an_answer_of_two_entries_of_which_one_had_gone_before(empty_url: str) -> None:
    """A line was answered through the entry that is gone, and counted there: what is left does not take the answer."""
    database = Database(empty_url, FakeClock())
    schema.upgrade(database, to="0007")
    first, second = request_id(1, 1), request_id(2, 1)
    with database.write() as tx:
        for statement in CACHED[:3]:
            tx.run(text(statement))
        tx.run(
            text(
                "INSERT INTO cache_entries (cache_key, answer_id, tenant, created_ms, expires_ms)"
                " VALUES ('of its model', 7, 't', 1, 2)"
            )
        )
        for batch, line in ((1, first), (2, second)):
            done = (
                f"INSERT INTO requests (id, batch_id, state, answer_id) VALUES ({line}, {batch}, 'done', 7)"
            )
            tx.run(text(done))
    schema.upgrade(database)
    with database.write() as tx:
        assert lines.remove(tx, [first]).calls == 1
    assert cache_contents.drop(database, cache_contents.expired(database.now_ms())).entries == 1
    orphans.delete_unpointed(database)
    with database.read() as tx:
        assert tx.rows(text("SELECT id FROM answers WHERE id = 7"))
    database.close()


def test_an_older_database_is_brought_up_to_date(empty_url: str) -> None:
    """What batches of the first schema hold is there, and goes on, after the upgrade."""
    database = Database(empty_url)
    schema.upgrade(database, to="0001")
    with pytest.raises(DatabaseError, match="has schema 0001") as refused:
        schema.check(database)
    assert "batchmill db upgrade" in refused.value.hint
    with database.write() as tx:
        tx.run(text("INSERT INTO requests (id, batch_id) VALUES (4294967297, 1)"))
        for statement in CACHED:
            tx.run(text(statement))
    assert schema.upgrade(database)
    assert schema.drift(database) == []
    with database.read() as tx:
        kept = tx.rows(text("SELECT id, state, request_type FROM requests"))
        told = tx.rows(text("SELECT cache_key, answer_bytes, cost_nanos, is_shared FROM cache_entries"))
    assert [tuple(row) for row in kept] == [(4294967297, "pending", "")]
    assert {tuple(row) for row in told} == {("a", 6, 42, True), ("b", 6, 42, True), ("c", 0, None, True)}
    database.close()
