"""The roll of workers: which of those on the list are at work."""

from dataclasses import dataclass

from batchmill.settings import Settings
from db import workers
from db.engine import Database
from workers.life import shows_life


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """Who is on the list of workers.

    Attributes:
        alive: So many of this home are at work on batches; the desks of its services are none of them.
        dead: Those of this home that show no life.
        elsewhere: So many of other homes and machines are on the list; whether they live only their own home knows.
    """

    alive: int
    dead: tuple[str, ...]
    elsewhere: int


def call_roll(settings: Settings, database: Database) -> Roll:
    """Look who is there."""
    with database.snapshot() as tx:
        here, everywhere = workers.of_home(tx, str(settings.home)), workers.count(tx, desks_too=False)
    dead = tuple(worker for worker in here if not shows_life(settings.home, worker))
    of_batches = {worker for worker in here if not worker.startswith(workers.DESK)}
    return Roll(alive=len(of_batches.difference(dead)), dead=dead, elsewhere=everywhere - len(of_batches))
