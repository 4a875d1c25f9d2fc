"""Openings: a budget made in the middle of its period knows what was spent before, to the nano-dollar."""

import pytest

from batchmill.budgets.model import Period, Scope, keys_of
from db.engine import Database
from tests.support.audit import audit
from tests.support.budgets import enter, moment_ms, set_budgets_of, spend, standing_of
from tests.support.clocks import FakeClock
from tests.support.hands import add_batch, batch_of
from tests.support.replies import PRICE_NANOS

DAY_MS = 24 * 3_600_000
CALLED = [
    {"provider": provider, "model": model}
    for provider, model in (
        ("openai", "gpt-4o"),
        ("else", "gpt-4o"),
        ("openai", "org/gpt-4o"),
        ("org", "gpt-4o"),
    )
]


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        (Scope.GLOBAL, ""),
        (Scope.TENANT, "acme"),
        (Scope.USER, "alice"),
        (Scope.USER, "acme/alice"),
        (Scope.USER, "acme/"),
        (Scope.PROVIDER, "openai"),
        (Scope.MODEL, "gpt-4o"),
        (Scope.MODEL, "openai/gpt-4o"),
        (Scope.MODEL, "org/gpt-4o"),
        (Scope.TYPE, "report"),
        (Scope.BATCH, ""),
    ],
)
def test_the_opening_is_what_the_ledger_says_was_spent(
    database: Database, clock: FakeClock, scope: Scope, name: str
) -> None:
    """To the nano: the cost of every entry that the budget would have covered, in this period, and no other."""
    of_batches = [add_batch(database, 1) for _ in range(2)]
    clock.advance(1_000)
    public_ids = {batch: batch_of(database, batch).public_id for batch in of_batches}
    name = name or (public_ids[1] if scope is Scope.BATCH else "")
    facts = [
        {"tenant": tenant, "user_id": user, "request_type": kind, "batch_id": batch} | called
        for tenant in ("acme", "acme/x")
        for user in ("", "alice", "acme/alice")
        for called in CALLED
        for kind in ("", "report")
        for batch in of_batches
    ]
    with database.read() as tx:
        now_ms = tx.now_ms
    entries = [
        one | {"at_ms": now_ms - place, "cost_nanos": 2**place % 999_983} for place, one in enumerate(facts)
    ]
    enter(database, entries)
    enter(database, [one | {"at_ms": now_ms - 40 * DAY_MS, "cost_nanos": 10**12} for one in facts])
    enter(database, [{"at_ms": now_ms, "cost_nanos": None}])
    (made,) = set_budgets_of(database, {Period.MONTH: 10**15}, scope, name)
    covered = [
        entry["cost_nanos"]
        for entry in entries
        if made.budget.key
        in keys_of(
            tenant=entry["tenant"],
            user=entry["user_id"],
            provider=entry["provider"],
            model=entry["model"],
            request_type=entry["request_type"],
            batch=public_ids[entry["batch_id"]],
        )
    ]
    assert made.opening_nanos == made.balance.spent_nanos == sum(covered)
    assert covered or name == "acme/"


@pytest.mark.parametrize(
    ("period", "zone", "now", "first", "last"),
    [
        (
            Period.DAY,
            "Europe/Berlin",
            "2026-10-25T23:59:59",
            "2026-10-25T00:00",
            "2026-10-26T00:00",
        ),  # 25 hours
        (Period.DAY, "Europe/Berlin", "2026-03-29T12:00", "2026-03-29T00:00", "2026-03-30T00:00"),  # 23
        (Period.WEEK, "America/New_York", "2026-11-01T23:30", "2026-10-26T00:00", "2026-11-02T00:00"),
        (Period.MONTH, "Australia/Lord_Howe", "2026-10-04T02:40", "2026-10-01T00:00", "2026-11-01T00:00"),
        (Period.DAY, "Asia/Kathmandu", "2026-02-03T00:00", "2026-02-03T00:00", "2026-02-04T00:00"),
    ],
)
def test_the_opening_goes_by_the_zones_calendar(
    database: Database, clock: FakeClock, period: Period, zone: str, now: str, first: str, last: str
) -> None:
    """Also where the clocks change: from the first millisecond of its day, week or month to the last."""
    clock.advance(moment_ms(now, zone) - clock.now_ms())
    first_ms, last_ms = moment_ms(first, zone), moment_ms(last, zone)
    enter(
        database,
        [
            {"at_ms": first_ms - 1, "cost_nanos": 1},
            {"at_ms": first_ms, "cost_nanos": 20},
            {"at_ms": last_ms - 1, "cost_nanos": 300},
            {"at_ms": last_ms, "cost_nanos": 4_000},
        ],
    )
    (made,) = set_budgets_of(database, {period: 10_000}, zone=zone)
    assert (made.start_ms, made.end_ms, made.opening_nanos) == (first_ms, last_ms, 320)


def test_a_total_counts_from_now_on_unless_it_is_of_a_batch(database: Database) -> None:
    """What a tenant spent before is not in it; all that a batch has spent is."""
    batch = spend(database, 3)
    (tenant,) = set_budgets_of(database, {Period.TOTAL: 9_000})
    (own,) = set_budgets_of(database, {Period.TOTAL: 9_000}, Scope.BATCH, batch_of(database, batch).public_id)
    assert (standing_of(tenant), standing_of(own)) == ((9_000, 0, 0), (9_000, 3 * PRICE_NANOS, 0))
    audit(database)
