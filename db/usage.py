"""Usage: the books added up in the database, by whatever columns one asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import tzinfo
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Table, Text, and_, case, cast, func, select, union_all

from batchmill.errors import NotFoundError
from batchmill.money.summary import Column, Group, Selection, Summary, Sums
from batchmill.periods import days_between
from db.books import IS_UNKNOWN, IS_UNPRICED, is_single
from db.bulk import INT, STR, rows_of
from db.engine import Database, Transaction
from db.ledger import CALL, HIT, IS_CORRECTION
from db.tables import batches, ledger, ledger_days

_PLAIN = {
    Column.MODEL: "model",
    Column.PROVIDER: "provider",
    Column.TENANT: "tenant",
    Column.USER: "user_id",
    Column.AGENT: "agent",
    Column.TYPE: "request_type",
    Column.ENDPOINT: "endpoint",
}
_OF_BATCHES = {Column.BATCH, Column.JOB}
_DAYS = {"day": STR, "start_ms": INT, "end_ms": INT}
_SUMS = tuple(field.name for field in fields(Sums))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What is asked.

    Attributes:
        given: The days, where that is one of the columns.
    """

    by: Sequence[Column]
    selection: Selection
    given: FromClause | None = None

    def names(self, table: Table) -> list[Any]:
        """The columns asked for, of the ledger or of its daily rows."""
        columns = _columns_of(table)
        if self.given is not None:
            columns[Column.DAY] = self.given.c.day
        return [columns[column].label(f"by_{column}") for column in self.by]

    def asked(self, query: Any, table: Table) -> Any:
        """Of the ledger or of its daily rows only what is meant."""
        period = self.selection
        query = query.select_from(table)
        if _OF_BATCHES & {*self.by, *period.only}:
            query = query.join(batches, batches.c.id == table.c.batch_id, isouter=True)
        if self.given is not None:
            is_of_day = and_(table.c.at_ms >= self.given.c.start_ms, table.c.at_ms < self.given.c.end_ms)
            query = query.join(self.given, is_of_day)
        if period.since_ms is not None:
            query = query.where(table.c.at_ms >= period.since_ms)
        if period.until_ms is not None:
            query = query.where(table.c.at_ms < period.until_ms)
        columns = _columns_of(table) | {Column.BATCH: _batch_name(table)}
        return query.where(*(columns[column] == value for column, value in period.only.items()))


def summarize(database: Database, by: Sequence[Column], selection: Selection, *, zone: tzinfo) -> Summary:
    """Add the books up as of one moment, dearest group first, days in their order; in flat memory.

    Args:
        zone: Whose calendar `Column.DAY` goes by.

    Raises:
        NotFoundError: It is to be of a batch that does not exist.
    """
    with database.snapshot() as tx:
        (total,) = tx.rows(select(*_sums(_parts(_Question(by=(), selection=selection)))))
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
    if Column.DAY in by and not days:
        return []
    given = rows_of(tx.dialect, _DAYS) if days else None
    parts = _parts(_Question(by=by, selection=selection, given=given))
    names = [parts.c[f"by_{column}"] for column in by]
    in_order = [name for name, column in zip(names, by, strict=True) if column is Column.DAY]
    dearest = func.sum(parts.c.cost_nanos).desc().nulls_last()
    groups: Any = select(*names, *_sums(parts)).group_by(*names).order_by(*in_order, dearest, *names)
    found = tx.bulk_rows(groups, days) if days else tx.rows(groups)
    return [
        Group(
            names={column: row._mapping[f"by_{column}"] for column in by},
            sums=_sums_of(row),
        )
        for row in found
    ]


def _parts(question: _Question) -> FromClause:
    """The ledger and its daily rows, each added up by itself: no request is in both."""
    return union_all(_entries(question), _daily_rows(question)).subquery("parts")


def _sums(parts: FromClause) -> list[Any]:
    return [func.coalesce(func.sum(parts.c[name]), 0).label(name) for name in _SUMS]


def _entries(question: _Question) -> Any:
    names = question.names(ledger)
    sums: dict[str, Any] = {"requests": func.count(ledger.c.request_id.distinct())}
    sums |= {name: func.count(case((is_so, 1))) for name, is_so in _counted(question.selection).items()}
    sums |= {name: func.sum(ledger.c[name]) for name in _SUMS if name not in sums}
    added = select(*names, *(sums[name].label(name) for name in _SUMS))
    return question.asked(added, ledger).group_by(*names)


def _counted(selection: Selection) -> Mapping[str, ColumnElement[bool]]:
    is_call = ledger.c.kind == CALL
    # A correction may come after the period, but never before it.
    corrected = select(ledger.c.attempt_id).where(IS_CORRECTION, ledger.c.attempt_id.is_not(None))
    if selection.since_ms is not None:
        corrected = corrected.where(ledger.c.at_ms >= selection.since_ms)
    return {
        "calls": is_call,
        "hits": ledger.c.kind == HIT,
        "unknown": and_(is_call, IS_UNKNOWN, ledger.c.attempt_id.not_in(corrected)),
        "unpriced": IS_UNPRICED,
    }


def _daily_rows(question: _Question) -> Any:
    """A cohort's requests count once, in however many of the rows that are added up they are."""
    names = question.names(ledger_days)
    sums: dict[str, Any] = {"requests": func.max(ledger_days.c.requests), "unknown": 0 * func.count()}
    sums |= {name: func.sum(ledger_days.c[name]) for name in _SUMS if name not in sums}
    of_cohorts = select(*names, *(sums[name].label(name) for name in _SUMS))
    of_cohorts = question.asked(of_cohorts, ledger_days).group_by(*names, ledger_days.c.cohort)
    cohorts = of_cohorts.subquery("cohorts")
    groups = [cohorts.c[name.name] for name in names]
    return select(*groups, *(func.sum(cohorts.c[name]).label(name) for name in _SUMS)).group_by(*groups)


def _columns_of(table: Table) -> dict[Column, Any]:
    columns: dict[Column, Any] = {column: table.c[name] for column, name in _PLAIN.items()}
    single = is_single(table.c.batch_id, batches.c.is_direct)
    columns[Column.BATCH] = case((single, ""), else_=_batch_name(table))
    columns[Column.JOB] = table.c.job_name if table is ledger_days else func.coalesce(batches.c.job_name, "")
    return columns


def _batch_name(table: Table) -> ColumnElement[str]:
    return func.coalesce(batches.c.public_id, cast(table.c.batch_id, Text))


def _sums_of(row: Any) -> Sums:
    return Sums(**{name: int(getattr(row, name)) for name in _SUMS})


def _days(tx: Transaction, selection: Selection, zone: tzinfo) -> list[dict[str, Any]]:
    """The days from the first entry of the period to the last."""
    question = _Question(by=(), selection=selection)
    moments: set[int] = set()
    for table in (ledger, ledger_days):
        ends = question.asked(select(func.min(table.c.at_ms), func.max(table.c.at_ms)), table)
        moments.update(at_ms for at_ms in tx.rows(ends)[0] if at_ms is not None)
    return [
        {"day": day.name, "start_ms": day.start_ms, "end_ms": day.end_ms}
        for day in (days_between(min(moments), max(moments) + 1, zone) if moments else ())
    ]
