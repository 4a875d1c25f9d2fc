"""The audit of budgets: what they say held against what the ledger says, and how that is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batchmill.alerts.message import utc_text
from batchmill.findings import Finding, finding_view, is_well
from batchmill.money.nanos import usd_text
from db.audit.budgets import compared
from db.audit.run import OF_MONEY
from db.engine import Database

SIDES = (
    ("spent", "spent_nanos"),
    ("held", "held_nanos"),
    ("unknown", "unknown_nanos"),
    ("overrun", "overrun_nanos"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What an audit has found.

    Attributes:
        periods: Rows of the periods compared; see `db.audit.budgets.compared`.
    """

    periods: Sequence[Any]
    findings: Sequence[Finding]

    @property
    def is_clean(self) -> bool:
        """Whether budgets and ledger say the same."""
        return is_well(self.findings)


def audited(database: Database) -> Audited:
    """Hold all budgets against the ledger, as of one moment; nothing is mended."""
    with database.snapshot() as tx:
        periods = compared(tx)
        findings = [check.find(tx) for check in OF_MONEY]
    return Audited(periods=periods, findings=findings)


def view(found: Audited) -> dict[str, Any]:
    """An audit as JSON shows it. Money is exact dollars as text."""
    return {
        "clean": found.is_clean,
        "periods": [_period_view(row) for row in found.periods],
        "findings": [finding_view(finding) for finding in found.findings],
    }


def _period_view(row: Any) -> dict[str, Any]:
    sides = {
        side: {
            "budget_usd": usd_text(getattr(row, column)),
            "ledger_usd": usd_text(int(getattr(row, side))),
            "difference_usd": usd_text(getattr(row, column) - int(getattr(row, side))),
        }
        for side, column in SIDES
    }
    return {
        "scope": row.scope,
        "name": row.name or None,
        "period": row.period,
        "origin": row.origin,
        "since": utc_text(row.start_ms) if row.start_ms else None,
        "until": None if row.end_ms is None else utc_text(row.end_ms),
        "limit_usd": usd_text(row.limit_nanos),
        "opening_usd": usd_text(row.opening_nanos),
        **sides,
    }
