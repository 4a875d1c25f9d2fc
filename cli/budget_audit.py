"""`batchmill budget audit`: is what budgets say what the ledger says?"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.findings import tell_findings
from cli.home import home_option, settings_at
from cli.output import counted, json_option, narrate, print_json, print_table

if TYPE_CHECKING:
    from db.engine import Database


@click.command()
@home_option
@json_option
def audit(home: Path | None, as_json: bool) -> int:
    """Prove that budgets and ledger say the same, period by period, to the nano-dollar.

    What is spent on a budget is what the ledger had when it was made, plus the calls held on it: at their cost, and
    where that is not known at the most they could cost. Also checked: that no budget is overspent but by calls that
    were dearer than what was held for them, and that the ledger has every call once. Nothing is mended; calls may be
    made meanwhile. Exit status 1 if anything differs.
    """
    from workers.assembly import existing_database

    database = existing_database(settings_at(home))
    try:
        return _audit(database, as_json)
    finally:
        database.close()


def _audit(database: "Database", as_json: bool) -> int:
    from workers.budget_audit import audited, view

    found = audited(database)
    if as_json:
        print_json(view(found))
        return int(not found.is_clean)
    print_table([_in_words(row) for row in found.periods])
    if found.is_clean:
        checked = counted(len(found.periods), "period")
        narrate(f"clean: {checked} of budgets compared, and each is what the ledger says, to the nano-dollar")
    else:
        click.echo()
        tell_findings(found.findings)
    return int(not found.is_clean)


def _in_words(row: Any) -> dict[str, Any]:
    from batchmill.alerts.message import utc_text
    from batchmill.money.nanos import usd_text
    from workers.budget_audit import SIDES

    differences = {side: getattr(row, column) - int(getattr(row, side)) for side, column in SIDES}
    wrong = [f"{side} {usd_text(nanos)}" for side, nanos in differences.items() if nanos]
    return {
        "scope": row.scope,
        "name": row.name or None,
        "period": row.period,
        "since": utc_text(row.start_ms) if row.start_ms else None,
        "limit": f"${usd_text(row.limit_nanos)}",
        "spent": f"${usd_text(row.spent_nanos)}",
        "held": f"${usd_text(row.held_nanos)}",
        "by_the_ledger": f"${usd_text(int(row.spent))}",
        "verdict": f"differs: {', '.join(wrong)}" if wrong else "the same",
    }
