"""What would go, before it goes: how much of what, how large, from when to when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, select

from batchmill.periods import date_of, start_of
from db.audit.check import is_of_batch
from db.engine import Database, Transaction
from db.retention.doomed import HAS_UNKNOWNS, NEVER, OWES_WEBHOOK, Old, may_go
from db.retention.rolling import WELL_BEFORE_MS
from db.sizes import bytes_of
from db.tables import answers, batches, files, inputs, ledger, requests

_b = batches.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """Things of one kind.

    Attributes:
        bytes: What they take, as far as that is told; None = it is not.
        first_ms, last_ms: When the first and the last of them ended, or was made.
    """

    count: int = 0
    bytes: int | None = None
    first_ms: int | None = None
    last_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What would go now.

    Attributes:
        going: By kind. Answers are those of the lines that go; those that others still point to stay.
        kept_unknown: Old batches that stay, as calls of theirs are unknown.
        kept_webhook: Old batches that stay, as their producers have not been told yet.
    """

    going: Mapping[str, Going]
    kept_unknown: int
    kept_webhook: int


def foresee(database: Database, old: Old, *, ledger_ms: int, files_ms: int, zone: tzinfo) -> Foreseen:
    """Count it as of one moment; nothing is written."""
    with database.snapshot() as tx:
        goes = may_go(tx, old)
        going = {
            "batches": _batches(tx, and_(goes, ~_b.is_direct)),
            "single_requests": _batches(tx, and_(goes, _b.is_direct)),
            "lines": _lines(tx, goes),
            "answers": _answers(tx, goes),
            "ledger_entries": _entries(tx, ledger_ms, zone),
            "files": _files(tx, files_ms),
        }
        is_kept = and_(old.condition, _b.removed_ms.is_(None))
        unknown, webhook = tx.rows(
            select(
                func.count(case((HAS_UNKNOWNS, 1))), func.count(case((and_(~HAS_UNKNOWNS, OWES_WEBHOOK), 1)))
            ).where(is_kept)
        )[0]
    return Foreseen(going=going, kept_unknown=unknown, kept_webhook=webhook)


def _going(tx: Transaction, query: Any) -> Going:
    row = tx.rows(query)[0]
    size = None if row.size is None else int(row.size)
    return Going(count=row.times, bytes=size, first_ms=row.first, last_ms=row.last)


def _told(at_ms: Any, size: Any = None) -> Any:
    size = literal(None) if size is None else func.coalesce(func.sum(size), 0)
    ends = (func.min(at_ms).label("first"), func.max(at_ms).label("last"))
    return select(func.count().label("times"), size.label("size"), *ends)


def _batches(tx: Transaction, which: ColumnElement[bool]) -> Going:
    return _going(tx, _told(_b.ended_ms).where(which))


def _lines(tx: Transaction, goes: ColumnElement[bool]) -> Going:
    sized = _told(_b.ended_ms, bytes_of(inputs.c.body, tx.dialect))
    return _going(tx, sized.join_from(batches, inputs, is_of_batch(inputs.c.request_id)).where(goes))


def _answers(tx: Transaction, goes: ColumnElement[bool]) -> Going:
    sized = _told(_b.ended_ms, bytes_of(answers.c.body, tx.dialect))
    lines = sized.join_from(batches, requests, is_of_batch(requests.c.id))
    return _going(tx, lines.join(answers, answers.c.id == requests.c.answer_id).where(goes))


def _entries(tx: Transaction, ledger_ms: int, zone: tzinfo) -> Going:
    """Those of whole days, of batches that are over; the few that wait for a late correction are counted too."""
    if ledger_ms == NEVER:
        return Going()
    end_ms = start_of(date_of(ledger_ms, zone), zone)
    is_over = _b.ended_ms <= end_ms - WELL_BEFORE_MS
    entries = _told(ledger.c.at_ms).join_from(ledger, batches, batches.c.id == ledger.c.batch_id)
    return _going(tx, entries.where(ledger.c.at_ms < end_ms, is_over, _b.unknown_attempts == 0))


def _files(tx: Transaction, files_ms: int) -> Going:
    if files_ms == NEVER:
        return Going(bytes=0)
    is_old = and_(files.c.state == "processed", files.c.expires_ms.is_(None), files.c.created_ms <= files_ms)
    return _going(tx, _told(files.c.created_ms, files.c.bytes).where(is_old))
