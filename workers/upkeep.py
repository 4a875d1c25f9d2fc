"""Upkeep: the sweep, the doorbells it finds unrung, and the workers of this home that died."""

from collections.abc import Mapping
from typing import Any

import structlog

from batchmill.requests.model import BatchState
from batchmill.settings import Settings
from db import batches, sweep, workers
from db.engine import Database
from db.sweep import Judging
from workers import attendance
from workers.doorbell import Doorbell
from workers.life import is_alive
from workers.meters.folder import remove_dead

log = structlog.get_logger()

UNATTENDED = "the command that ran it has ended"
PAUSED_BY_HAND = "paused by hand"


def ring(
    database: Database, doorbell: Doorbell, with_work: Mapping[str, tuple[int, int]], *, least: int = 1
) -> None:
    """Ring for every lane that has claimable work.

    Args:
        with_work: By lane: a batch of it, and how many requests are fresh.
        least: As `Doorbell.ring` takes it.
    """
    with database.read() as tx:
        rows = batches.rows(tx, [batch for batch, _ in with_work.values()])
    for lane, (batch, fresh) in with_work.items():
        doorbell.ring(queue=lane, lane=lane, batch=rows[batch].public_id, requests=fresh, least=least)


def clear_up(database: Database, settings: Settings, judge: Judging) -> None:
    """Put right what killed commands and workers of this home left, without waiting for any lease to run out."""
    bury_the_dead(database, settings, judge)
    remove_dead(settings.home)
    if not settings.database.is_embedded:
        return  # commands of other machines share it, whose locks we do not see
    with database.read() as tx:
        rows = batches.of_commands(tx)
    for row in rows:
        if not attendance.is_attended(settings, row):
            leave(database, row)


def leave(database: Database, batch: Any) -> None:
    """Let a batch whose command has gone stand still: nobody else answers it, and its questions are others' to ask."""
    if batch.state == BatchState.VALIDATING:
        sweep.discard(database, batch.id, "its ingest was interrupted")
    elif batch.state == BatchState.IN_PROGRESS:
        with database.write() as tx:
            batches.pause(tx, batch.id, UNATTENDED)


def bury_the_dead(database: Database, settings: Settings, judge: Judging) -> int:
    """Take back what workers of this home held when they died; how many of their calls are unknown."""
    with database.read() as tx:
        registered = workers.of_home(tx, str(settings.home))
    dead = [worker for worker in registered if not is_alive(settings.home, worker)]
    if not dead:
        return 0
    with database.read() as tx:
        held = workers.claims_of(tx, dead)
    unknown = sweep.take_back(database, held, judge)
    with database.write() as tx:
        for worker in dead:
            workers.leave(tx, worker)
    log.debug("buried", workers=len(dead), claims=len(held), unknown_attempts=unknown)
    return unknown
