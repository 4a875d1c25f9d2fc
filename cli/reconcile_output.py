"""How calls of which nobody knows what they cost are shown, and what became of them."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchmill.alerts.message import utc_text
from batchmill.money.nanos import format_usd, usd_text
from batchmill.providers.names import ProviderName
from batchmill.requests.ids import client_request_id
from cli.output import counted, narrate, print_json, print_table
from db.budgets import unknowns
from workers.reconciling import unknown_calls

if TYPE_CHECKING:
    from db.budgets.unknowns import Selection
    from db.engine import Database
    from workers.reconciling import Reconciled

_LEFT_ALONE = {
    "known": "known already",
    "known_otherwise": "known already at another cost",
    "unpriced": "answered without a known price",
    "in_flight": "in flight",
    "not_ours": "not found here",
    "without_hold": "without a hold",
    "overtaken": "settled by somebody else meanwhile",
}


def show_unknown(database: "Database", selection: "Selection", limit: int, as_json: bool) -> None:
    """Print the unknown calls of a selection, up to so many."""
    with database.read() as tx:
        total = unknowns.total(tx, selection)
    rows = islice(unknown_calls(database, selection), limit)
    calls = [_call_as_json(row) for row in rows]
    if as_json:
        charged = usd_text(total.held_nanos)
        print_json(
            {"unknown": total.calls, "charged_usd": charged, "without_hold": total.unheld, "calls": calls}
        )
        return
    is_plain = all(call["provider"] == ProviderName.OPENAI for call in calls)
    print_table([_call_in_words(call, is_plain) for call in calls])
    if not total.calls:
        narrate("nothing is unknown")
        return
    left = f", {limit:,} of them shown" if total.calls > limit else ""
    free = f"; {total.unheld:,} of them are under no budget" if total.unheld else ""
    narrate(f"{counted(total.calls, 'unknown call')}{left}, charged at {format_usd(total.held_nanos)}{free}")


def _call_as_json(row: Any) -> dict[str, Any]:
    return {
        "request_id": client_request_id(row.public_id, row.request_id, row.number),
        "batch": row.public_id,
        "custom_id": row.custom_id,
        "attempt": row.number,
        "provider": row.provider,
        "model": row.model,
        "sent_at": utc_text(row.sent_ms),
        "why": row.error or None,
        "charged_usd": usd_text(row.hold_nanos) if row.held_on else None,
    }


def _call_in_words(call: Mapping[str, Any], is_plain: bool) -> dict[str, Any]:
    """A call as a row; models are called by their bare names while all are OpenAI's."""
    shown = {**call, "model": call["model"] if is_plain else f"{call['provider']}/{call['model']}"}
    del shown["batch"], shown["attempt"], shown["provider"]
    charged = shown.pop("charged_usd")
    return shown | {"charged": None if charged is None else f"${charged}"}


def tell_reconciled(database: "Database", done: "Reconciled", is_dry: bool, as_json: bool) -> None:
    """Print by how much each budget's spending changed; say how many calls were settled, and what was left alone."""
    with database.read() as tx:
        periods = unknowns.periods(tx, sorted(done.settled.changes))
    if as_json:
        print_json(_as_json(done, periods, is_dry))
        return
    print_table([_period_in_words(row, done.settled.changes[row.id]) for row in periods])
    for example in done.examples:
        narrate(example)
    settled, would = done.settled, "would be " if is_dry else ""
    narrate(
        f"{counted(settled.calls, 'call')} {would}settled at {format_usd(settled.cost_nanos)},"
        f" where {format_usd(settled.held_nanos)} had been charged"
    )
    left = {words: getattr(done, name) for name, words in _LEFT_ALONE.items()}
    if any(left.values()):
        narrate("left alone: " + ", ".join(f"{number:,} {words}" for words, number in left.items() if number))


def _as_json(done: "Reconciled", periods: Sequence[Any], is_dry: bool) -> dict[str, Any]:
    return {
        "dry_run": is_dry,
        "settled": done.settled.calls,
        "cost_usd": usd_text(done.settled.cost_nanos),
        "charged_before_usd": usd_text(done.settled.held_nanos),
        "budgets": [_period_as_json(row, done.settled.changes[row.id]) for row in periods],
        **{name: getattr(done, name) for name in _LEFT_ALONE},
        "left_alone": done.examples,
    }


def _period_as_json(row: Any, change_nanos: int) -> dict[str, Any]:
    return {
        "scope": row.scope,
        "name": row.name or None,
        "period": row.period,
        "since": utc_text(row.start_ms) if row.start_ms else None,
        "until": None if row.end_ms is None else utc_text(row.end_ms),
        "change_usd": usd_text(change_nanos),
    }


def _period_in_words(row: Any, change_nanos: int) -> dict[str, Any]:
    shown = _period_as_json(row, change_nanos)
    del shown["until"], shown["change_usd"]
    sign = "+" if change_nanos > 0 else ""
    return shown | {"spent_changes_by_usd": f"{sign}{usd_text(change_nanos)}"}
