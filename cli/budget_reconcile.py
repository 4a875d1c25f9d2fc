"""`batchmill budget reconcile`: calls of which nobody knows what they cost."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from batchmill.errors import InputError, MisuseError
from cli.home import home_option, settings_at
from cli.output import counted, json_option, narrate, print_json, print_table
from cli.text import Text

if TYPE_CHECKING:
    from batchmill.budgets.evidence import BadEvidence
    from db.budgets.unknowns import Selection
    from db.engine import Database
    from workers.reconciling import Reconciled


@click.command()
@click.argument("evidence", required=False, metavar="[EVIDENCE]", type=click.Path(path_type=Path))
@click.option("--call", type=Text(), metavar="REQUEST_ID", help="Settle this one call, at --cost.")
@click.option("--cost", metavar="USD", help="What it cost; 0 = it was not billed.")
@click.option("--all", "every", is_flag=True, help="Settle all unknown calls, --as you say.")
@click.option(
    "--as",
    "word",
    type=click.Choice(["hold", "free"]),
    help="They cost what was held for them, or they were not billed.",
)
@click.option("--batch", type=Text(), help="Only calls of this batch.")
@click.option("--older-than", metavar="TIME", help="Only calls sent before then: 7d, a date, an ISO time.")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 1_000_000), help="List so many."
)
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what would come of it, and settle nothing.")
@home_option
@json_option
def reconcile(
    evidence: Path | None,
    call: str | None,
    cost: str | None,
    every: bool,
    word: str | None,
    batch: str | None,
    older_than: str | None,
    limit: int,
    is_dry: bool,
    home: Path | None,
    as_json: bool,
) -> None:
    """List the calls of which nobody knows what they cost, or settle them.

    A call that timed out, or whose worker was killed, may have been billed. Until somebody finds out it counts on
    its budgets at the most that it could cost.

    EVIDENCE is what the provider says: CSV with the columns request_id and cost_usd, or JSON lines with these
    fields; `-` is standard input. A request_id is the X-Client-Request-Id that the provider saw, as the list shows
    it. Of evidence with a bad line nothing is taken. What is known already stays as it is.
    """
    _refuse(evidence, call, cost, every, word, batch, older_than)
    with _opened(home) as database:
        selection = _selection(database, batch, older_than)
        if evidence is not None:
            done = _by_evidence(database, evidence, is_dry)
        elif call is not None:
            done = _by_hand(database, call, cost or "", is_dry)
        elif word is not None:
            from workers.reconciling import Word, by_word

            done = by_word(database, selection, Word(word), is_dry=is_dry)
        else:
            _list(database, selection, limit, as_json)
            return
    _tell(done, is_dry, as_json)


def _refuse(
    evidence: Path | None,
    call: str | None,
    cost: str | None,
    every: bool,
    word: str | None,
    batch: str | None,
    older_than: str | None,
) -> None:
    ways = [name for name, given in (("EVIDENCE", evidence), ("--call", call), ("--all", every)) if given]
    if len(ways) > 1:
        raise MisuseError(f"{' and '.join(ways)} exclude each other", "settle by one of them at a time")
    if (call is None) != (cost is None):
        raise MisuseError("--call and --cost go together", "say which call cost how much")
    if every != (word is not None):
        raise MisuseError("--all and --as go together", "say --all --as hold, or --all --as free")
    if ways and not every and (batch or older_than):
        raise MisuseError(
            "--batch and --older-than are for the list and --all", "the others name their calls themselves"
        )


@contextmanager
def _opened(home: Path | None) -> "Iterator[Database]":
    from workers.assembly import existing_database

    database = existing_database(settings_at(home))
    try:
        yield database
    finally:
        database.close()


def _selection(database: "Database", batch: str | None, older_than: str | None) -> "Selection":
    from datetime import UTC

    from cli.points import point_of
    from db.budgets.unknowns import Selection
    from workers.naming import batch_named

    return Selection(
        batch=None if batch is None else batch_named(database, batch).id,
        sent_before_ms=point_of("--older-than", older_than, zone=UTC, now_ms=database.now_ms()),
    )


def _by_evidence(database: "Database", evidence: Path, is_dry: bool) -> "Reconciled":
    from workers.reconciling import by_evidence

    with _stream(evidence) as stream:
        return by_evidence(database, stream, on_bad_line=_tell_bad, is_dry=is_dry)


@contextmanager
def _stream(path: Path) -> Iterator[BinaryIO]:
    """The evidence; standard input by way of a file, as it is read twice."""
    import shutil
    import tempfile

    if str(path) == "-":
        with tempfile.TemporaryFile() as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
            spool.seek(0)
            yield spool
        return
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f'"{path}" cannot be read: {error.strerror}', "name the file of evidence") from error
    with stream:
        yield stream


def _by_hand(database: "Database", call: str, cost: str, is_dry: bool) -> "Reconciled":
    from batchmill.budgets.evidence import cost_nanos
    from batchmill.requests.ids import call_name
    from workers.reconciling import by_hand

    name = call_name(call.strip())
    if name is None:
        raise MisuseError(
            f'"{call}" is no name of a call', "take it from the list: batch_req_<batch>_<place>/<attempt>"
        )
    try:
        nanos = cost_nanos(cost)
    except ValueError as error:
        raise MisuseError(f"--cost: {error}") from None
    return by_hand(database, name, nanos, is_dry=is_dry)


def _tell_bad(bad: "BadEvidence") -> None:
    narrate(f"line {bad.line}: {bad.message}")


def _list(database: "Database", selection: "Selection", limit: int, as_json: bool) -> None:
    from itertools import islice

    from batchmill.money.nanos import format_usd, usd_text
    from db.budgets import unknowns
    from workers.reconciling import unknown_calls

    with database.read() as tx:
        total = unknowns.total(tx, selection)
    rows = islice(unknown_calls(database, selection), limit)
    if as_json:
        print_json(
            {
                "unknown": total.calls,
                "charged_usd": usd_text(total.held_nanos),
                "calls": [_as_json(row) for row in rows],
            }
        )
        return
    print_table([_in_words(row) for row in rows])
    if not total.calls:
        narrate("nothing is unknown")
        return
    left = f", {limit:,} of them shown" if total.calls > limit else ""
    free = f"; {total.unheld:,} of them are under no budget" if total.unheld else ""
    narrate(f"{counted(total.calls, 'unknown call')}{left}, charged at {format_usd(total.held_nanos)}{free}")


def _as_json(row: Any) -> dict[str, Any]:
    from batchmill.alerts.message import utc_text
    from batchmill.money.nanos import usd_text
    from batchmill.requests.ids import client_request_id

    return {
        "request_id": client_request_id(row.public_id, row.request_id, row.number),
        "batch": row.public_id,
        "custom_id": row.custom_id,
        "provider": row.provider,
        "model": row.model,
        "sent_at": utc_text(row.sent_ms),
        "why": row.error or None,
        "charged_usd": None if row.hold_nanos is None else usd_text(row.hold_nanos),
    }


def _in_words(row: Any) -> dict[str, Any]:
    shown = _as_json(row)
    del shown["batch"], shown["provider"]
    charged = shown.pop("charged_usd")
    return shown | {"charged": None if charged is None else f"${charged}"}


def _tell(done: "Reconciled", is_dry: bool, as_json: bool) -> None:
    from batchmill.money.nanos import format_usd, usd_text

    settled = done.settled
    if as_json:
        print_json(
            {
                "dry_run": is_dry,
                "settled": settled.calls,
                "cost_usd": usd_text(settled.cost_nanos),
                "charged_before_usd": usd_text(settled.held_nanos),
                "known": done.known,
                "known_otherwise": done.otherwise,
                "in_flight": done.in_flight,
                "not_ours": done.not_ours,
                "without_hold": done.unheld,
                "left_alone": done.examples,
            }
        )
        return
    for example in done.examples:
        narrate(example)
    would = "would be " if is_dry else ""
    narrate(
        f"{counted(settled.calls, 'call')} {would}settled at {format_usd(settled.cost_nanos)},"
        f" where {format_usd(settled.held_nanos)} had been charged"
    )
    left = {
        "known already": done.known,
        "known already at another cost": done.otherwise,
        "in flight": done.in_flight,
        "not found here": done.not_ours,
        "without a hold": done.unheld,
    }
    if any(left.values()):
        narrate("left alone: " + ", ".join(f"{number:,} {what}" for what, number in left.items() if number))
