"""Factors: by how much holds of a model are raised, because calls of it were dearer than their hold."""

from collections.abc import Sequence

from sqlalchemy import case, select
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.budgets.balance import Charge
from db.engine import Transaction
from db.tables import hold_factors

HIGHEST_PERCENT = 1_000
KNOWN_AFTER_MS = 30_000
"""By then every worker goes by a new factor: it looks for one every few seconds."""


def percents(tx: Transaction) -> dict[tuple[str, str], int]:
    """By provider and model: how many hundredths of the bound are held."""
    found = tx.rows(select(hold_factors))
    return {(row.provider, row.model): row.percent for row in found}


def rise(tx: Transaction, overran: Sequence[Charge]) -> None:
    """Raise the factors of the models of these calls, so far that their holds would have been enough."""
    wanted: dict[tuple[str, str], tuple[int, int]] = {}
    for charge in overran:
        if charge.hold_nanos > 0:
            key = charge.provider, charge.model
            needed = -(-100 * charge.amount_nanos // charge.hold_nanos)
            wanted[key] = max(wanted.get(key, (0, 0)), (needed, charge.sent_ms))
    for (provider, model), (needed, sent_ms) in sorted(wanted.items()):
        _rise(tx, provider, model, needed, sent_ms)


def _rise(tx: Transaction, provider: str, model: str, needed: int, sent_ms: int) -> None:
    """A call sent while the factor was already known had its hold raised by it; for one sent before, it was not."""
    needed = min(needed, HIGHEST_PERCENT)  # one nano-dollar held for a dear call: more than a column can keep
    insert = postgresql.insert if tx.dialect == "postgresql" else sqlite.insert
    first = insert(hold_factors).values(provider=provider, model=model, percent=needed, updated_ms=tx.now_ms)
    was_known = hold_factors.c.updated_ms + KNOWN_AFTER_MS <= sent_ms
    raised = case((was_known, hold_factors.c.percent * needed // 100 + 1), else_=needed)
    higher = case((raised > HIGHEST_PERCENT, HIGHEST_PERCENT), else_=raised)
    tx.run(
        first.on_conflict_do_update(
            index_elements=["provider", "model"],
            set_={"percent": higher, "updated_ms": tx.now_ms},
            where=higher > hold_factors.c.percent,
        )
    )
