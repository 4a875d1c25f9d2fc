"""Steering: a batch is paused, resumed, cancelled, from outside and with no worker needed."""

from typing import Any

from batchmill.errors import BrokerError, ConflictError
from batchmill.requests.model import BatchState
from batchmill.settings import Settings
from db import batches, claims, hosted, sweep
from db.engine import Database
from workers import attendance
from workers.app import make_app
from workers.assembly import make_judge
from workers.doorbell import Doorbell
from workers.upkeep import PAUSED_BY_HAND, UNATTENDED, clear_up


def cancel(database: Database, settings: Settings, batch: Any) -> Any:
    """End a batch early; its row afterwards.

    Nothing new is sent. What nobody holds ends at once; calls in flight finish, or are cut off by their worker
    within a third of a lease. The results of a batch whose command has gone are no longer owed to its path.

    Raises:
        ConflictError: It has ended, or all its lines have.
    """
    if batch.state == BatchState.VALIDATING and batch.input_file:
        with database.write() as tx:
            is_ending = hosted.cancel_unread(tx, batch.id)
        if is_ending:
            return _reread(database, batch.id)
    elif batch.state == BatchState.VALIDATING:
        sweep.discard(database, batch.id, "cancelled while its input was read")
        row = _reread(database, batch.id)
        if row.state == BatchState.FAILED:
            return row
    row = _as_it_stands(database, settings, batch)
    with database.write() as tx:
        is_ending = batches.cancel(tx, row.id) or row.state == BatchState.CANCELLING
        if is_ending and _is_forsaken(settings, row):
            batches.disown(tx, row.id)
    row = _reread(database, row.id)
    if not is_ending:
        raise _not_now(row, "cancelled")
    sweep.end_idle(database, row.id, BatchState(row.final_state))
    sweep.finish_undelivered(database)
    return _reread(database, row.id)


def pause(database: Database, settings: Settings, batch: Any, reason: str = "") -> Any:
    """Let no new call of a batch start until it is resumed; its row afterwards. Calls in flight finish.

    Raises:
        ConflictError: It is not running.
    """
    row = _as_it_stands(database, settings, batch)
    with database.write() as tx:
        paused = batches.pause(tx, row.id, f"{PAUSED_BY_HAND}: {reason}" if reason else PAUSED_BY_HAND)
    row = _reread(database, row.id)
    if not paused:
        raise _not_now(row, "paused")
    return row


def resume(database: Database, settings: Settings, batch: Any) -> Any:
    """Let a paused batch go on; its row afterwards.

    Raises:
        ConflictError: It is not paused, or nobody would answer it: its command has gone.
    """
    row = _as_it_stands(database, settings, batch)
    if row.state == BatchState.PAUSED and _is_forsaken(settings, row):
        raise ConflictError(
            f"batch {row.public_id} was made by `batchmill run`, and that command has ended",
            "run the same command again: it goes on",
        )
    with database.write() as tx:
        resumed = batches.resume(tx, row.id)
    row = _reread(database, row.id)
    if not resumed:
        raise _not_now(row, "resumed")
    return row


def call_workers(database: Database, settings: Settings, batch: Any) -> str:
    """Tell the workers that share a broker of a batch that can go on; why none comes at once, or ""."""
    if settings.broker.url is None and settings.database.is_embedded:
        is_awaited = batch.output_path is None and not attendance.is_served(settings)
        return "no worker serves this home: start one with `batchmill worker`" if is_awaited else ""
    if settings.broker.url is None:
        return "BROKER_URL is not set: workers find it at the next sweep"
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


def _as_it_stands(database: Database, settings: Settings, batch: Any) -> Any:
    """Its row, once what killed commands and workers left has been put right."""
    clear_up(database, settings, make_judge(settings))
    return _reread(database, batch.id)


def _reread(database: Database, batch: int) -> Any:
    with database.read() as tx:
        return batches.rows(tx, [batch])[batch]


def _not_now(row: Any, done: str) -> ConflictError:
    state = BatchState(row.state)
    if state is BatchState.VALIDATING:
        return ConflictError(
            f"batch {row.public_id} cannot be {done}: its input is still being read",
            "wait until it is in progress",
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
