"""Usage: the ledger added up in the database, by whatever columns one asks for."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import tzinfo
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, case, cast, func, select

from batchmill.errors import NotFoundError
from batchmill.money.summary import Column, Group, Selection, Summary, Sums
from batchmill.periods import days_between
from batchmill.requests.judge import NOT_KNOWN
from db.bulk import INT, STR, rows_of
from db.engine import Database, Transaction
from db.ledger import CALL, CORRECTION, HIT
from db.tables import batches, ledger

_COLUMNS: dict[Column, ColumnElement[str]] = {
    Column.MODEL: ledger.c.model,
    Column.PROVIDER: ledger.c.provider,
    Column.TENANT: ledger.c.tenant,
    Column.USER: ledger.c.user_id,
    Column.AGENT: ledger.c.agent,
    Column.TYPE: ledger.c.request_type,
    Column.ENDPOINT: ledger.c.endpoint,
    # A batch may be gone; its entries never are.
    Column.BATCH: func.coalesce(batches.c.public_id, cast(ledger.c.batch_id, Text)),
    Column.JOB: func.coalesce(batches.c.job_name, ""),
}
_OF_BATCHES = {Column.BATCH, Column.JOB}
_DAYS = {"day": STR, "start_ms": INT, "end_ms": INT}


def summarize(database: Database, by: Sequence[Column], selection: Selection, *, zone: tzinfo) -> Summary:
    """Add the ledger up as of one moment, dearest group first, days in their order; in flat memory.

    Args:
        zone: Whose calendar `Column.DAY` goes by.

    Raises:
        NotFoundError: It is to be of a batch that does not exist.
    """
    with database.snapshot() as tx:
        (total,) = tx.rows(_where(select(*_sums(selection)), [], selection))
        if not total.requests:
            _require_batch(tx, selection.only.get(Column.BATCH))
        groups = _groups(tx, list(dict.fromkeys(by)), selection, zone) if by else []
    return Summary(groups=tuple(groups), total=_sums_of(total))


def _require_batch(tx: Transaction, name: str | None) -> None:
    if name is not None and not tx.rows(select(batches.c.id).where(batches.c.public_id == name)):
        raise NotFoundError(
            f'there is no batch "{name}"', "`batchmill usage --by batch` shows those that were used"
        )


def _groups(tx: Transaction, by: list[Column], selection: Selection, zone: tzinfo) -> list[Group]:
    days = _days(tx, selection, zone) if Column.DAY in by else []
    given = rows_of(tx.dialect, _DAYS)
    names = [
        (given.c.day if column is Column.DAY else _COLUMNS[column]).label(f"by_{column}") for column in by
    ]
    grouped = _where(select(*names, *_sums(selection)), by, selection)
    if Column.DAY in by:
        if not days:
            return []
        grouped = grouped.join(
            given, and_(ledger.c.at_ms >= given.c.start_ms, ledger.c.at_ms < given.c.end_ms)
        )
    order = [name for name, column in zip(names, by, strict=True) if column is Column.DAY]
    grouped = grouped.group_by(*names).order_by(
        *order, func.sum(ledger.c.cost_nanos).desc().nulls_last(), *names
    )
    found = tx.bulk_rows(grouped, days) if days else tx.rows(grouped)
    return [
        Group(
            names={column: row._mapping[f"by_{column}"] for column in by},
            sums=_sums_of(row),
        )
        for row in found
    ]


def _where(query: Any, by: Sequence[Column], selection: Selection) -> Any:
    query = query.select_from(ledger)
    if _OF_BATCHES & {*by, *selection.only}:
        query = query.join(batches, batches.c.id == ledger.c.batch_id, isouter=True)
    if selection.since_ms is not None:
        query = query.where(ledger.c.at_ms >= selection.since_ms)
    if selection.until_ms is not None:
        query = query.where(ledger.c.at_ms < selection.until_ms)
    return query.where(*(_COLUMNS[column] == value for column, value in selection.only.items()))


def _sums(selection: Selection) -> list[Any]:
    is_call, is_unknown = ledger.c.kind == CALL, ledger.c.cost_reason == NOT_KNOWN.reason
    # A correction may come after the period, but never before it.
    corrected = select(ledger.c.attempt_id).where(
        ledger.c.kind == CORRECTION, ledger.c.attempt_id.is_not(None)
    )
    if selection.since_ms is not None:
        corrected = corrected.where(ledger.c.at_ms >= selection.since_ms)
    counted = {
        "calls": is_call,
        "hits": ledger.c.kind == HIT,
        "unknown": and_(is_call, is_unknown, ledger.c.attempt_id.not_in(corrected)),
        "unpriced": and_(ledger.c.cost_nanos.is_(None), ~is_unknown),
    }
    added = {
        name: ledger.c[name] for name in ("input_tokens", "cached_tokens", "output_tokens", "cost_nanos")
    }
    return [
        func.count(ledger.c.request_id.distinct()).label("requests"),
        *(func.count(case((condition, 1))).label(name) for name, condition in counted.items()),
        *(func.coalesce(func.sum(column), 0).label(name) for name, column in added.items()),
    ]


def _sums_of(row: Any) -> Sums:
    return Sums(**{field.name: int(getattr(row, field.name)) for field in fields(Sums)})


def _days(tx: Transaction, selection: Selection, zone: tzinfo) -> list[dict[str, Any]]:
    """The days from the first entry of the period to the last."""
    (found,) = tx.rows(
        _where(
            select(func.min(ledger.c.at_ms).label("first"), func.max(ledger.c.at_ms).label("last")),
            [],
            selection,
        )
    )
    if found.first is None:
        return []
    return [
        {"day": day.name, "start_ms": day.start_ms, "end_ms": day.end_ms}
        for day in days_between(found.first, found.last + 1, zone)
    ]
