"""What the books say of calls that somebody else has seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, select

from batchmill.requests.ids import CallName, request_id
from batchmill.requests.model import AttemptState
from db.bulk import INT, STR, rows_of
from db.engine import Transaction
from db.prepared import Prepared
from db.tables import attempts, batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The attempt behind a call.

    Attributes:
        cost_nanos: What it is known to have cost; None while that is not known.
    """

    id: int
    state: AttemptState
    cost_nanos: int | None


def _made_statement(dialect: str) -> Any:
    given = rows_of(dialect, {"request_id": INT, "number": INT})
    is_it = and_(attempts.c.request_id == given.c.request_id, attempts.c.number == given.c.number)
    return select(
        attempts.c.id, attempts.c.request_id, attempts.c.number, attempts.c.state, attempts.c.cost_nanos
    ).join_from(given, attempts, is_it)


def _batches_statement(dialect: str) -> Any:
    given = rows_of(dialect, {"public_id": STR})
    return select(batches.c.id, batches.c.public_id).join_from(
        given, batches, batches.c.public_id == given.c.public_id
    )


_made, _named = Prepared(_made_statement), Prepared(_batches_statement)


def recorded(tx: Transaction, seen: Sequence[CallName]) -> Mapping[CallName, Recorded]:
    """The attempts of these calls, as far as there are any."""
    names = [{"public_id": name} for name in sorted({call.batch for call in seen})]
    ids = {row.public_id: row.id for row in tx.bulk_rows(_named, names)}
    wanted = {
        (request_id(ids[call.batch], call.place), call.number): call for call in seen if call.batch in ids
    }
    table = [{"request_id": request, "number": number} for request, number in wanted]
    return {
        wanted[row.request_id, row.number]: Recorded(
            id=row.id,
            state=AttemptState(row.state),
            cost_nanos=row.cost_nanos if row.state == AttemptState.SETTLED else None,
        )
        for row in tx.bulk_rows(_made, table)
    }
