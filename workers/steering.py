"""Steering: a batch is paused, resumed, cancelled, from outside and with no worker needed."""

from typing import Any

from batchmill.errors import BrokerError, ConflictError
from batchmill.requests.model import BatchState
from batchmill.settings import Settings
from db import batches, claims, sweep
from db.engine import Database
from workers import attendance
from workers.app import make_app
from workers.assembly import make_judge
from workers.doorbell import Doorbell
from workers.upkeep import PAUSED_BY_HAND, UNATTENDED, clear_up

_RUNNING = (BatchState.IN_PROGRESS, BatchState.PAUSED, BatchState.CANCELLING)


def cancel(database: Database, settings: Settings, batch: Any) -> Any:
    """End a batch early; its row afterwards.

    Nothing new is sent. What nobody holds ends at once; calls in flight finish, or are cut off by their worker
    within a third of a lease. The results of a batch whose command has gone are no longer owed to its path.

    Raises:
        ConflictError: It has ended, or all its lines have.
    """
    clear_up(database, settings, make_judge(settings))
    row = _reread(database, batch.id)
    if row.state == BatchState.VALIDATING:
        sweep.discard(database, row.id, "cancelled while its input was read")
    elif row.state in _RUNNING:
        with database.write() as tx:
            batches.cancel(tx, row.id)
            if _is_forsaken(settings, row):
                batches.disown(tx, row.id)
        sweep.end_idle(database, row.id, BatchState(row.final_state))
        sweep.finish_undelivered(database)
    else:
        raise _not_now(row, "cancelled")
    return _reread(database, row.id)


def pause(database: Database, batch: Any, reason: str = "") -> Any:
    """Let no new call of a batch start until it is resumed; its row afterwards. Calls in flight finish.

    Raises:
        ConflictError: It is not running.
    """
    with database.write() as tx:
        paused = batches.pause(tx, batch.id, f"{PAUSED_BY_HAND}: {reason}" if reason else PAUSED_BY_HAND)
    row = _reread(database, batch.id)
    if not paused:
        raise _not_now(row, "paused")
    return row


def resume(database: Database, settings: Settings, batch: Any) -> Any:
    """Let a paused batch go on; its row afterwards.

    Raises:
        ConflictError: It is not paused, or nobody would answer it: its command has gone.
    """
    if batch.state == BatchState.PAUSED and _is_forsaken(settings, batch):
        raise ConflictError(
            f"batch {batch.public_id} was made by `batchmill run`, and that command has ended",
            "run the same command again: it goes on",
        )
    with database.write() as tx:
        resumed = batches.resume(tx, batch.id)
    row = _reread(database, batch.id)
    if not resumed:
        raise _not_now(row, "resumed")
    return row


def ring(database: Database, settings: Settings, batch: Any) -> str:
    """Tell the workers that share a broker of a batch that may be claimed; why nobody was told, or ""."""
    if settings.broker.url is None:
        return "" if settings.database.is_embedded else "BROKER_URL is not set: workers find it at the next sweep"
    with database.read() as tx:
        claimable = claims.claimable_in(tx, batch.id)
    try:
        Doorbell(make_app(settings.broker.url, (batch.lane,))).ring(
            queue=batch.lane, lane=batch.lane, batch=batch.public_id, requests=claimable
        )
    except BrokerError as error:
        return f"{error.message}: workers find it at the next sweep"
    return ""


def _is_forsaken(settings: Settings, row: Any) -> bool:
    """Whether a batch of `batchmill run` is one that no command comes for, as far as can be known from here."""
    if row.output_path is None or attendance.is_attended(settings, row):
        return False
    # Of a shared database other machines' commands may come for it, whose locks we do not see.
    return settings.database.is_embedded or row.paused_reason == UNATTENDED


def _reread(database: Database, batch: int) -> Any:
    with database.read() as tx:
        return batches.rows(tx, [batch])[batch]


def _not_now(row: Any, done: str) -> ConflictError:
    state = BatchState(row.state)
    if state is BatchState.VALIDATING:
        return ConflictError(
            f"batch {row.public_id} cannot be {done}: its input is still being read", "wait until it is in progress"
        )
    if state is BatchState.PAUSED:
        return ConflictError(
            f"batch {row.public_id} is paused already: {row.paused_reason}",
            f"`batchmill resume {row.public_id}` lets it go on",
        )
    hint = {
        BatchState.IN_PROGRESS: f"`batchmill status {row.public_id}` shows how it gets on",
        BatchState.CANCELLING: "it ends as soon as its last calls have",
        BatchState.FINALIZING: "every line of it has ended",
    }.get(state, f"`batchmill results {row.public_id}` shows what it came to")
    return ConflictError(f"batch {row.public_id} cannot be {done}: it is {state}", hint)
