"""What was removed: nothing of it is half there, nothing of it is forgotten, and the books still say what it was."""

from sqlalchemy import and_, exists, func, or_, select

from db.audit.check import Check, is_of_batch
from db.books import SINGLE_REQUESTS, both
from db.tables import answers, attempts, batches, ledger_days, orphans, requests

_books = both("batch_id", "calls", "unpriced")
_of_books = (
    select(
        _books.c.batch_id,
        func.sum(_books.c.calls).label("calls"),
        func.sum(_books.c.unpriced).label("unpriced"),
    )
    .group_by(_books.c.batch_id)
    .subquery("of_books")
)
_calls, _unpriced = func.coalesce(_of_books.c.calls, 0), func.coalesce(_of_books.c.unpriced, 0)

cleared = Check(
    name="removed-lines",
    invariant=1,
    promise="of a batch that has been removed no line is left",
    broken=select(batches.c.id.label("batch_id"), func.count().label("left"))
    .join_from(batches, requests, is_of_batch(requests.c.id))
    .where(batches.c.cleared_ms.is_not(None))
    .group_by(batches.c.id),
    tell=lambda row: f"{row.left} lines are left",
)

answer_of_nobody = Check(
    name="lost-answers",
    invariant=1,
    promise="every answer has its line, or is known to have lost it",
    broken=select(answers.c.id.label("answer")).where(
        ~or_(
            exists(select(1).where(attempts.c.id == func.abs(answers.c.id))).correlate(answers),
            exists(select(1).where(requests.c.id == -answers.c.id)).correlate(answers),
            exists(select(1).where(orphans.c.answer_id == answers.c.id)).correlate(answers),
        )
    ),
    tell=lambda row: f"answer {row.answer}: its call is not there, and nobody would ever delete it",
)

calls = Check(
    name="removed-calls",
    invariant=8,
    promise="a batch that has been removed counts the calls that the ledger has of it",
    broken=select(
        batches.c.id.label("batch_id"),
        batches.c.calls,
        batches.c.unpriced,
        _calls.label("found_calls"),
        _unpriced.label("found_unpriced"),
    )
    .join_from(batches, _of_books, _of_books.c.batch_id == batches.c.id, isouter=True)
    .where(
        batches.c.removed_ms.is_not(None),
        or_(~batches.c.is_direct, batches.c.rolled_ms.is_(None)),
        or_(batches.c.calls != _calls, batches.c.unpriced != _unpriced),
    ),
    tell=lambda row: (
        f"calls: {row.calls} counted, {int(row.found_calls)} in the ledger;"
        f" unpriced: {row.unpriced} and {int(row.found_unpriced)}"
    ),
)

_d = ledger_days.c
_twin = ledger_days.alias("twin")

days = Check(
    name="ledger-days",
    invariant=7,
    promise="every daily row of the ledger has entries of requests, and of a batch that says so",
    broken=select(_d.key, _d.day, _d.batch_id, _d.requests, _d.calls, _d.hits, _d.corrections)
    .join_from(ledger_days, batches, batches.c.id == _d.batch_id, isouter=True)
    .where(
        or_(
            _d.requests <= 0,
            _d.calls + _d.hits + _d.corrections < _d.requests,
            _d.failed > _d.calls,
            _d.unpriced > _d.calls + _d.corrections,
            and_(_d.batch_id != SINGLE_REQUESTS, batches.c.rolled_ms.is_(None)),
            exists(select(1).where(_twin.c.cohort == _d.cohort, _twin.c.requests != _d.requests)).correlate(
                ledger_days
            ),
        )
    ),
    tell=lambda row: (
        f"{row.day}, row {row.key}: {row.requests} requests, {row.calls} calls, {row.hits} hits,"
        f" {row.corrections} corrections, of batch {row.batch_id}"
    ),
)
