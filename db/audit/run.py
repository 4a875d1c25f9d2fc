"""All checks, one after the other."""

from collections.abc import Iterator

from batchmill.findings import Finding
from db.audit import budgets, calls, hosted, lines, money, retained
from db.engine import Database

CHECKS = (
    lines.ends,
    lines.answered,
    lines.claimable,
    lines.waiting,
    lines.kept,
    hosted.owed,
    retained.cleared,
    retained.answer_of_nobody,
    calls.numbers,
    calls.doubled,
    calls.counted,
    calls.reasons,
    lines.held,
    calls.in_flight,
    budgets.limits,
    money.entries,
    money.hits,
    money.spent,
    retained.days,
    budgets.periods,
    budgets.balances,
    lines.counters,
    calls.of_batches,
    retained.calls,
)
"""By the number of their promise."""


OF_MONEY = (
    budgets.limits,
    money.entries,
    money.hits,
    money.spent,
    retained.days,
    budgets.periods,
    budgets.balances,
)


def audit(database: Database) -> Iterator[Finding]:
    """Make every check, each in a short reading transaction of its own."""
    for check in CHECKS:
        with database.snapshot() as tx:
            yield check.find(tx)
