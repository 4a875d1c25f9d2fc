"""Orphans: answers whose own lines are gone, deleted when nothing else points to them any more.

What else could: an entry of the cache, and requests that it answered as hits. Neither is indexed by answer
(docs/decisions/0020), so all of both are gone through, page by page, for some hundred thousand orphans at a time.

No new pointer is missed by that. Only who finds an entry points a line to its answer, and no new entry is ever made for
an answer whose call is no more. So entries are looked at first: of an orphan without one, all lines that will ever
point to it do so by then. Those who had found an entry that was dropped meanwhile have committed before it went, or do
not commit at all (`db.cache.used`, `db.hits`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import bindparam, delete, func, select

from db.engine import Database, Transaction
from db.marks import marked
from db.prepared import Prepared, among
from db.retention.steps import Steps
from db.sizes import bytes_of
from db.tables import answers, cache_entries, orphans, requests

AT_A_TIME = 200_000
ROWS_A_LOOK = 10_000

_o = orphans.c
_is_of_portion = _o.answer_id.between(bindparam("first"), bindparam("last"))
_portion = (
    select(_o.answer_id)
    .where(_o.answer_id > bindparam("after"))
    .order_by(_o.answer_id)
    .limit(bindparam("most"))
)
_forget = Prepared(delete(orphans).where(among(_o.answer_id, "ids")))


def _last_key(key: Any) -> Any:
    """The last key of a page of a table; NULL for an empty one."""
    page = select(key).where(key > bindparam("after")).order_by(key).limit(bindparam("most"))
    return select(func.max(page.subquery("page").c[key.name]))


def _pointed_from(key: Any, answer_id: Any) -> Any:
    """The orphans of the portion that rows of a page point to."""
    in_page = (key > bindparam("after")) & (key <= bindparam("to"))
    return (
        select(answer_id).distinct().join(orphans, _o.answer_id == answer_id).where(in_page, _is_of_portion)
    )


_POINTERS: tuple[tuple[Any, Any, Any], ...] = (
    (
        "",
        _last_key(cache_entries.c.cache_key),
        _pointed_from(cache_entries.c.cache_key, cache_entries.c.answer_id),
    ),
    (0, _last_key(requests.c.id), _pointed_from(requests.c.id, requests.c.answer_id)),
)
"""Who may point to an answer, entries first: where to begin, how far a page goes, and whom it points to."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """Answers that went, and what they took."""

    answers: int = 0
    bytes: int = 0

    def __add__(self, other: "Deleted") -> "Deleted":
        return Deleted(self.answers + other.answers, self.bytes + other.bytes)


def delete_unpointed(database: Database, *, check: Callable[[], None] = lambda: None) -> Deleted:
    """Delete the orphans that nothing points to; memory holds the numbers of a portion of all.

    Args:
        check: Called between steps; what it raises ends the work there.
    """
    steps, deleted = Steps(database, check), Deleted()
    for portion in _portions(database):
        pointed = set(_pointed(database, portion[0], portion[-1], check))
        free = [id_ for id_ in portion if id_ not in pointed]
        while free:
            ids, free = free[: steps.most], free[steps.most :]
            deleted += steps.take(partial(_delete, ids=ids))
    return deleted


def _portions(database: Database) -> Iterator[list[int]]:
    """Who is an orphan by now, some at a time. What becomes one later may have an entry that has been passed by."""
    after = 0
    while True:
        with database.read() as tx:
            portion = [row.answer_id for row in tx.rows(_portion, after=after, most=AT_A_TIME)]
        if not portion:
            return
        yield portion
        after = portion[-1]


def _pointed(database: Database, first: int, last: int, check: Callable[[], None]) -> Iterator[int]:
    """The orphans of a portion that something points to."""
    for after, last_key, pointed_from in _POINTERS:
        while True:
            check()
            with database.read() as tx:
                to = tx.rows(last_key, after=after, most=ROWS_A_LOOK)[0][0]
                if to is None:
                    break
                found = tx.rows(pointed_from, after=after, to=to, first=first, last=last)
            yield from (row.answer_id for row in found)
            after = to


def _delete(tx: Transaction, *, ids: list[int]) -> Deleted:
    """Those of them that are not marked: who marks an answer locks it, and whoever deletes it looks after that."""
    if tx.dialect != "sqlite":
        tx.rows(select(answers.c.id).where(answers.c.id.in_(ids)).order_by(answers.c.id).with_for_update())
    stay = marked(tx, ids)
    ids = [id_ for id_ in ids if id_ not in stay]
    doomed = delete(answers).where(answers.c.id.in_(ids))
    gone = tx.rows(doomed.returning(bytes_of(answers.c.body, tx.dialect).label("size")))
    tx.run(_forget, ids=ids)
    return Deleted(len(gone), sum(row.size for row in gone))
