"""`batchmill budget reconcile`: calls of which nobody knows what they cost."""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from batchmill.errors import InputError, MisuseError
from cli.home import home_option, opened_database
from cli.inputs import STDIN, standard_input
from cli.output import json_option, narrate
from cli.text import Text

if TYPE_CHECKING:
    from batchmill.budgets.evidence import BadEvidence
    from db.budgets.unknowns import Selection
    from db.engine import Database
    from workers.reconciling import Reconciled


LISTED = 50
"""Calls, unless --limit says otherwise."""


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
@click.option("--since", metavar="TIME", help="Only calls sent from then on: 7d, a date, an ISO time.")
@click.option("--older-than", metavar="TIME", help="Only calls sent before then: the same.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), help=f"List so many.  [default: {LISTED}]")
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
    since: str | None,
    older_than: str | None,
    limit: int | None,
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
    from cli.reconcile_output import show_unknown, tell_reconciled
    from workers.reconciling import Word, by_word

    is_selecting = any(given is not None for given in (batch, since, older_than))
    _refuse(evidence, call, cost, every, word, is_selecting=is_selecting, is_listing=limit is not None)
    with opened_database(home) as database:
        selection = _selection(database, batch, since, older_than)
        if evidence is not None:
            done = _by_evidence(database, evidence, is_dry)
        elif call is not None:
            done = _by_hand(database, call, cost or "", is_dry)
        elif word is not None:
            done = by_word(database, selection, Word(word), is_dry=is_dry)
        else:
            show_unknown(database, selection, limit or LISTED, as_json)
            return
        tell_reconciled(database, done, is_dry, as_json)


def _refuse(
    evidence: Path | None,
    call: str | None,
    cost: str | None,
    every: bool,
    word: str | None,
    *,
    is_selecting: bool,
    is_listing: bool,
) -> None:
    named = {"EVIDENCE": evidence is not None, "--call": call is not None, "--all": every}
    ways = [name for name, is_given in named.items() if is_given]
    if len(ways) > 1:
        raise MisuseError(f"{' and '.join(ways)} exclude each other", "settle by one of them at a time")
    if (call is None) != (cost is None):
        raise MisuseError("--call and --cost go together", "say which call cost how much")
    if every != (word is not None):
        raise MisuseError("--all and --as go together", "say --all --as hold, or --all --as free")
    if ways and not every and is_selecting:
        raise MisuseError(
            "--batch, --since and --older-than are for the list and --all",
            "the others name their calls themselves",
        )
    if ways and is_listing:
        raise MisuseError(
            f"--limit is for the list, and {ways[0]} settles",
            "leave it out; --dry-run says what would come of it",
        )


def _selection(
    database: "Database", batch: str | None, since: str | None, older_than: str | None
) -> "Selection":
    from datetime import UTC

    from batchmill.periods import point_named
    from db.budgets.unknowns import Selection
    from workers.naming import batch_named

    now_ms = database.now_ms()
    since_ms = point_named("--since", since, zone=UTC, now_ms=now_ms)
    before_ms = point_named("--older-than", older_than, zone=UTC, now_ms=now_ms)
    if since_ms is not None and before_ms is not None and since_ms >= before_ms:
        raise MisuseError(
            f"no call is sent since {since} and older than {older_than}", "let --since name the earlier time"
        )
    return Selection(
        batch=None if batch is None else batch_named(database, batch).id,
        sent_since_ms=since_ms,
        sent_before_ms=before_ms,
    )


def _by_evidence(database: "Database", evidence: Path, is_dry: bool) -> "Reconciled":
    from workers.reconciling import by_evidence

    with _stream(evidence) as stream:
        return by_evidence(database, stream, on_bad_line=_tell_bad, is_dry=is_dry)


def _stream(path: Path) -> BinaryIO:
    """The evidence; a pipe by way of a file, as it is read twice."""
    try:
        stream: BinaryIO = standard_input() if path == STDIN else path.open("rb")
        return stream if stream.seekable() else _spool(stream)
    except OSError as error:
        raise InputError(f'"{path}" cannot be read: {error.strerror}', "name the file of evidence") from error


def _spool(stream: BinaryIO) -> BinaryIO:
    import shutil
    import tempfile

    with stream:
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - whoever reads it closes it
        shutil.copyfileobj(stream, spool)
    spool.seek(0)
    return spool


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
