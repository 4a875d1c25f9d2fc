"""Dropping entries of the cache, beside running workers, in short steps.

An answer is deleted only with its entry, and only when nothing else points to it. What could:

- the request whose call brought it, found by the answer's number, which is that call's;
- requests that it answered as a hit: each was counted on its entry (`usage_count`), in the transaction that
  pointed it there. That count is also the guard against a look-up that runs at the same time: it fails, and the
  look-up is made again, when the entry it found stands no more (`db.cache.used`). A claim that answers lines
  itself holds the locks of their entries until then (`db.hits`);
- a mark (`db.marks`), whose line may be gone. The answers are locked before it is looked for, as a mark locks them;
- another entry, as an answer may be one to two questions: to that of its line, which any model may answer, and to
  the same put to its very model. Both entries know that (`is_shared`), and take no answer with them.

So nothing is searched, and no index is needed. The price: an answer that was used again, or is shared, stays
when its entry goes, for as long as any of its lines; whoever deletes lines has to look after it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, select

from batchmill.cache.room import Size
from db.engine import Database, Transaction
from db.marks import marked
from db.prepared import Prepared, among
from db.tables import answers, attempts, cache_entries, requests

ENTRIES_A_STEP = 250
"""At most: some ten milliseconds' work, for which SQLite lets nobody else write."""

LEAST_A_STEP = 20
LONG_S = 0.04
"""A step that takes longer is followed by one half as large, one that takes a quarter of it by a larger one: a slow
disk, or a machine with much to do, makes no step long."""

REST = 1.5
"""After each step so many times as long is left to others: whoever polls for SQLite's lock must find it free."""

_e = cache_entries.c

FACTS = (
    _e.expires_ms,
    _e.cache_key,
    _e.answer_id,
    _e.created_ms,
    _e.last_used_ms,
    _e.usage_count,
    _e.is_shared,
    _e.rating,
    _e.answer_bytes,
    _e.cost_nanos,
)
"""Of an entry what says whether it goes, and what goes with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What went, or would go.

    Attributes:
        entries: Entries of the cache; their questions are asked anew when they come.
        answers: Answers that nothing pointed to any more.
        answer_bytes: The size of these.
    """

    entries: int = 0
    answers: int = 0
    answer_bytes: int = 0

    def __add__(self, other: "Dropped") -> "Dropped":
        return Dropped(
            entries=self.entries + other.entries,
            answers=self.answers + other.answers,
            answer_bytes=self.answer_bytes + other.answer_bytes,
        )


@dataclass(slots=True)
class Pace:
    """Keeps steps short and apart, so that other work goes on.

    Attributes:
        size: How many entries the next step is to take.
        longest_s: The longest that a step took, its wait for locks included.
        steps: How many there were.
    """

    pause: Callable[[float], None] = time.sleep
    size: int = field(init=False)
    longest_s: float = field(default=0.0, init=False)
    steps: int = field(default=0, init=False)
    _begun: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.size = ENTRIES_A_STEP

    def __enter__(self) -> None:
        self._begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        took_s = time.monotonic() - self._begun
        self.longest_s = max(self.longest_s, took_s)
        self.steps += 1
        if took_s > LONG_S:
            self.size = max(min(LEAST_A_STEP, self.size), self.size // 2)
        elif took_s < LONG_S / 4:
            self.size = min(ENTRIES_A_STEP, self.size * 2)
        self.pause(took_s * REST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step did, or would do.

    Attributes:
        size: The entries that went, with their answers whether these went or not.
        used: Keys of entries that somebody was using: they still stand.
    """

    dropped: Dropped
    size: Size
    used: Sequence[str] = ()


def drop_step(
    database: Database,
    keys: Sequence[str],
    meant: ColumnElement[bool],
    is_doomed: Callable[[Any], bool] = lambda row: True,
) -> Step:
    """Drop those of these entries that are still meant, and are doomed by what their rows say by now."""
    return database.persist(partial(_drop, keys=keys, meant=meant, is_doomed=is_doomed))


def _drop(
    tx: Transaction, *, keys: Sequence[str], meant: ColumnElement[bool], is_doomed: Callable[[Any], bool]
) -> Step:
    these = and_(_e.cache_key.in_(keys), meant)
    found = tx.rows(select(*FACTS).where(these).with_for_update(skip_locked=True))
    doomed = [row for row in found if is_doomed(row)]
    tx.run(_delete_entries, keys=[row.cache_key for row in doomed])
    if tx.dialect != "sqlite":
        tx.rows(_lock_answers, ids=[row.answer_id for row in doomed if row.usage_count == 0])
    free = _free_of(tx, doomed)
    if free:
        tx.run(_delete_answers, ids=[row.answer_id for row in free])
    used = _used(tx, these, found) if len(found) < len(keys) and tx.dialect != "sqlite" else ()
    return _step(doomed, free, used)


def weigh(tx: Transaction, entries: Sequence[Any]) -> Step:
    """What would go with these entries."""
    return _step(entries, _free_of(tx, entries))


def _step(entries: Sequence[Any], free: Sequence[Any], used: Sequence[str] = ()) -> Step:
    free_bytes = sum(row.answer_bytes for row in free)
    return Step(
        dropped=Dropped(entries=len(entries), answers=len(free), answer_bytes=free_bytes),
        size=Size(entries=len(entries), answer_bytes=sum(row.answer_bytes for row in entries)),
        used=used,
    )


def _free_of(tx: Transaction, entries: Sequence[Any]) -> list[Any]:
    """Those whose answers nothing else points to. Their locks are held, or nothing comes of it."""
    unused = [row for row in entries if row.usage_count == 0 and not row.is_shared]
    if not unused:
        return []
    ids = [row.answer_id for row in unused]
    needed = {row.id for row in tx.rows(_own, ids=ids)} | marked(tx, ids)
    return [row for row in unused if row.answer_id not in needed]


def _used(tx: Transaction, these: ColumnElement[bool], found: Sequence[Any]) -> Sequence[str]:
    """Locked by somebody else, and so not found."""
    left = {row.cache_key for row in tx.rows(select(_e.cache_key).where(these))}
    return sorted(left - {row.cache_key for row in found})


_delete_entries = Prepared(delete(cache_entries).where(among(_e.cache_key, "keys")))
_lock_answers = Prepared(
    select(answers.c.id).where(among(answers.c.id, "ids")).order_by(answers.c.id).with_for_update()
)
_delete_answers = Prepared(delete(answers).where(among(answers.c.id, "ids")))
_own = Prepared(
    select(attempts.c.id)
    .join(requests, and_(requests.c.id == attempts.c.request_id, requests.c.answer_id == attempts.c.id))
    .where(among(attempts.c.id, "ids"))
)
