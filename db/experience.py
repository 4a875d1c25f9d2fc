"""Experience: what the newest calls came to, so that the next can be foreseen."""

from sqlalchemy import func, select

from batchmill.quotes.forecast import Experience, Experiences
from db.engine import Transaction
from db.ledger import CALL
from db.tables import ledger

NEWEST = 100_000
"""Entries of the ledger that are looked at: a look costs the same behind a million calls."""

_newest = ledger.c.id > select(func.max(ledger.c.id) - NEWEST).scalar_subquery()
_by = (ledger.c.provider, ledger.c.model, ledger.c.request_type)
_sums = (
    select(
        *_by,
        func.count().label("calls"),
        func.sum(ledger.c.output_tokens).label("output_tokens"),
        func.sum(ledger.c.latency_ms).label("latency_ms"),
    )
    .where(_newest, ledger.c.kind == CALL, ledger.c.success)
    .group_by(*_by)
)


def experiences(tx: Transaction) -> Experiences:
    """What answered calls came to on average, by provider, model and type, and by provider and model."""
    sums: dict[tuple[str, str, str | None], list[int]] = {}
    for row in tx.rows(_sums):
        for kind in (row.request_type, None):
            total = sums.setdefault((row.provider, row.model, kind), [0, 0, 0])
            for place, name in enumerate(("calls", "output_tokens", "latency_ms")):
                total[place] += int(getattr(row, name))
    return {
        key: Experience(calls=calls, output_tokens=-(-output // calls), latency_ms=-(-latency // calls))
        for key, (calls, output, latency) in sums.items()
    }
