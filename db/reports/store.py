"""The reports that were made: each once, so that whoever asks again gets the same."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, select
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.errors import NotFoundError
from batchmill.reports.delivery import Delivery, DeliveryState
from batchmill.reports.facts import read_facts, write_facts
from batchmill.reports.model import Report
from batchmill.reports.period import ReportPeriod
from db.engine import Transaction
from db.tables import installation, report_deliveries, reports, word

LATEST = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """A report that was made."""

    id: int
    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedReport:
    """One of the list."""

    id: int
    name: str
    kind: str
    start_ms: int
    end_ms: int
    made_ms: int
    deliveries: Sequence[Delivery]


def find(tx: Transaction, period: ReportPeriod) -> StoredReport | None:
    """The report of a period, if it has been made."""
    return _first(tx, and_(reports.c.kind == period.kind.value, reports.c.start_ms == period.start_ms))


def keep(tx: Transaction, report: Report) -> StoredReport:
    """Keep a report, unless that of its period has been made meanwhile: then that one counts."""
    period = report.period
    made = insert_of(tx)(reports).values(
        kind=period.kind.value,
        start_ms=period.start_ms,
        end_ms=period.end_ms,
        name=period.name,
        made_ms=report.made_ms,
        facts=write_facts(report),
    )
    tx.run(made.on_conflict_do_nothing(index_elements=["kind", "start_ms"]))
    stored = find(tx, period)
    assert stored is not None
    return stored


def named(tx: Transaction, name: str) -> StoredReport:
    """A report by its number, its name, or `latest`.

    Raises:
        NotFoundError: There is none of that name.
    """
    if name == LATEST:
        found = _first(tx, reports.c.id > 0)
    elif name.isdecimal() and len(name) < 19:
        found = _first(tx, reports.c.id == int(name))
    else:
        found = _first(tx, reports.c.name == name)
    if found is None:
        raise NotFoundError(f'there is no report "{name}"', "`batchmill report list` shows those there are")
    return found


def listed(tx: Transaction, *, most: int) -> list[ListedReport]:
    """The reports that were made, newest first, each with its deliveries."""
    columns = [reports.c[name] for name in ("id", "name", "kind", "start_ms", "end_ms", "made_ms")]
    found = tx.rows(select(*columns).order_by(reports.c.made_ms.desc(), reports.c.id.desc()).limit(most))
    told: dict[int, list[Delivery]] = {row.id: [] for row in found}
    wanted = select(report_deliveries).where(report_deliveries.c.report_id.in_(told))
    for row in tx.rows(wanted.order_by(report_deliveries.c.recipient)):
        told[row.report_id].append(delivery_of(row))
    return [ListedReport(**row._mapping, deliveries=told[row.id]) for row in found]


def unsure_since_last(tx: Transaction, period: ReportPeriod) -> int:
    """Mails of earlier reports of which it turned out, since the last report of this kind, that nobody knows whether
    they arrived."""
    last = (
        select(func.coalesce(func.max(reports.c.made_ms), 0))
        .where(reports.c.kind == period.kind.value, reports.c.start_ms < period.start_ms)
        .scalar_subquery()
    )
    is_unknown = report_deliveries.c.state == word(DeliveryState.UNKNOWN)
    counted = select(func.count().label("number")).where(is_unknown, report_deliveries.c.since_ms >= last)
    return int(tx.rows(counted)[0].number)


def installation_id(tx: Transaction) -> str:
    """By what the mails of this installation are told from those of others; made up when it is first asked for."""
    made = insert_of(tx)(installation).values(one=1, id=uuid.uuid4().hex)
    tx.run(made.on_conflict_do_nothing(index_elements=["one"]))
    found: str = tx.rows(select(installation.c.id))[0].id
    return found


def delivery_of(row: Row[Any]) -> Delivery:
    """A delivery from its row."""
    return Delivery(
        recipient=row.recipient,
        state=DeliveryState(row.state),
        tries=row.tries,
        message_id=row.message_id,
        next_try_ms=row.next_try_ms,
        since_ms=row.since_ms,
        error=row.error,
    )


def insert_of(tx: Transaction) -> Any:
    """INSERT as this database has it, which can do nothing where something is there."""
    return postgresql.insert if tx.dialect == "postgresql" else sqlite.insert


def _first(tx: Transaction, which: ColumnElement[bool]) -> StoredReport | None:
    wanted = select(reports).where(which).order_by(reports.c.made_ms.desc(), reports.c.id.desc())
    found = tx.rows(wanted.limit(1))
    return StoredReport(id=found[0].id, report=read_facts(found[0].facts)) if found else None
