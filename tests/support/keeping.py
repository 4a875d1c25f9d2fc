"""Retention step by step, and what must be true wherever it stops."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from zoneinfo import ZoneInfo

from sqlalchemy import select

from batchmill.money.summary import Column, Selection, Summary
from db.engine import Database
from db.retention import orphans, removal, rolling
from db.retention.doomed import Old
from db.tables import answers, batches, cache_entries, requests
from db.usage import summarize

DAY_MS = 86_400_000
BERLIN = ZoneInfo("Europe/Berlin")
GROUPINGS: tuple[tuple[Column, ...], ...] = (
    (Column.MODEL,),
    (Column.DAY, Column.TENANT),
    (Column.BATCH, Column.PROVIDER),
    (Column.JOB, Column.TYPE),
)


class KilledError(Exception):
    """What ends a run in its midst."""


def allowed(steps: int) -> Callable[[], None]:
    """A checkpoint that lets so many steps pass, and ends the run at the next."""
    passed = count(1)

    def check() -> None:
        if next(passed) > steps:
            raise KilledError

    return check


def retain(database: Database, check: Callable[[], None] = lambda: None, *, days: int = 1) -> None:
    """What the job does, where everything is kept for so many days."""
    before_ms = database.now_ms() - days * DAY_MS
    removal.remove(database, Old(batches_ms=before_ms, direct_ms=before_ms), check=check)
    orphans.delete_unpointed(database, check=check)
    rolling.roll_up(database, before_ms=before_ms, zone=BERLIN, check=check)


def make_single(database: Database, batch: int) -> None:
    """Let a batch of one line be a single request, whose caller waits for it."""
    with database.write() as tx:
        tx.run(batches.update().where(batches.c.id == batch).values(is_direct=True))


def answers_in(database: Database) -> set[int]:
    """Every answer there is."""
    with database.read() as tx:
        return {row.id for row in tx.rows(select(answers.c.id))}


def pointed_to(database: Database) -> set[int]:
    """Every answer that a line or an entry of the cache points to."""
    with database.read() as tx:
        lines = tx.rows(select(requests.c.answer_id).where(requests.c.answer_id.is_not(None)))
        entries = tx.rows(select(cache_entries.c.answer_id))
    return {row.answer_id for row in (*lines, *entries)}


def usage_of(
    database: Database, groupings: Sequence[tuple[Column, ...]] = GROUPINGS
) -> Mapping[tuple[Column, ...], Summary]:
    """The books, added up in several ways."""
    return {by: summarize(database, by, Selection(), zone=BERLIN) for by in groupings}
