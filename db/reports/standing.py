"""What stands open when a report is made, beside the ledger: batches that stand still, and calls nobody knows of."""

from sqlalchemy import and_, func, select

from batchmill.reports.model import PausedBatch, Unknowns
from batchmill.reports.period import Span
from batchmill.requests.model import AttemptState, BatchState
from db.engine import Transaction
from db.tables import attempts, batches, word

MOST_PAUSED = 10


def paused(tx: Transaction) -> tuple[list[PausedBatch], int]:
    """The batches that stand still, those with most open lines first, up to ten; and how many there are."""
    ended = batches.c.done + batches.c.failed + batches.c.cancelled + batches.c.expired
    open_lines = (batches.c.total - ended).label("open_lines")
    wanted = (
        select(
            batches.c.public_id,
            batches.c.job_name,
            batches.c.tenant,
            batches.c.paused_reason,
            open_lines,
            func.count().over().label("number"),
        )
        .where(batches.c.state == word(BatchState.PAUSED), batches.c.ended_ms.is_(None))
        .order_by(open_lines.desc(), batches.c.id)
        .limit(MOST_PAUSED)
    )
    found = tx.rows(wanted)
    shown = [
        PausedBatch(
            batch=row.public_id,
            job_name=row.job_name,
            tenant=row.tenant,
            reason=row.paused_reason,
            open_lines=int(row.open_lines),
        )
        for row in found
    ]
    return shown, int(found[0].number) if found else 0


def unknowns(tx: Transaction, span: Span) -> Unknowns:
    """Calls that may have been billed, whenever they were made, and how many of them in that period."""
    is_of_period = and_(attempts.c.sent_ms >= span.start_ms, attempts.c.sent_ms < span.end_ms)
    counted = select(
        func.count().label("calls"),
        func.coalesce(func.sum(attempts.c.hold_nanos), 0).label("most_nanos"),
        func.count().filter(attempts.c.hold_nanos.is_(None)).label("unbounded"),
        func.count().filter(is_of_period).label("of_period"),
    ).where(attempts.c.state == word(AttemptState.UNKNOWN))
    (row,) = tx.rows(counted)
    return Unknowns(
        calls=row.calls, most_nanos=int(row.most_nanos), unbounded=row.unbounded, of_period=row.of_period
    )
