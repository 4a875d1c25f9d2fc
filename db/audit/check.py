"""A check: a promise, the rows that break it, and how to speak of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_, select

from batchmill.findings import Example, Finding, Level
from batchmill.requests.ids import MAX_PLACES, PLACE_BITS, place_of
from batchmill.requests.model import BatchState
from db.engine import Transaction
from db.tables import batches, requests

EXAMPLES = 5
"""So many places a finding names."""

ENDED_BATCH = (BatchState.FINALIZING, BatchState.COMPLETED, BatchState.CANCELLED, BatchState.EXPIRED)
STARTED = and_(
    batches.c.state.not_in([BatchState.VALIDATING, BatchState.FAILED]),
    or_(batches.c.state != BatchState.CANCELLING, batches.c.started_ms.is_not(None)),
)
"""Before that, and where nothing was accepted, lines come and go."""

HAS_LINES = and_(STARTED, batches.c.removed_ms.is_(None))
"""From when its lines are removed on, only a batch's row says what they were."""

REPORT_IT = "this is an error of batchmill's, or somebody has written to the database: keep a copy of it and report it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What must be true, and where it is not.

    Attributes:
        invariant: The promise's number (docs/reference/doctor.md).
        promise: What holds, as a sentence without a full stop.
        broken: The rows for which it does not; with `batch_id`, `request_id`, `number` as far as they are of one.
        tell: What is wrong with such a row.
    """

    name: str
    invariant: int
    promise: str
    broken: Select[*tuple[Any, ...]]
    tell: Callable[[Any], str]
    hint: str = REPORT_IT

    def find(self, tx: Transaction) -> Finding:
        """Look; `tx` is a snapshot."""
        rows = tx.rows(self.broken.limit(EXAMPLES + 1))
        if not rows:
            return Finding(check=self.name, invariant=self.invariant, level=Level.OK, message=self.promise)
        return Finding(
            check=self.name,
            invariant=self.invariant,
            level=Level.FAILURE,
            message=f"not so: {self.promise}",
            examples=tuple(self._examples(tx, rows[:EXAMPLES])),
            has_more=len(rows) > EXAMPLES,
            hint=self.hint,
        )

    def _examples(self, tx: Transaction, rows: Sequence[Any]) -> list[Example]:
        places = [
            (_batch_of(row), getattr(row, "request_id", None), getattr(row, "number", None)) for row in rows
        ]
        ids = [batch for batch, _, _ in places if batch is not None]
        named = tx.rows(select(batches.c.id, batches.c.public_id).where(batches.c.id.in_(ids)))
        names = {row.id: row.public_id for row in named}
        return [
            Example(
                batch=None if batch is None else names.get(batch, str(batch)),
                place=None if request is None else place_of(request),
                attempt=number,
                detail=self.tell(row),
            )
            for row, (batch, request, number) in zip(rows, places, strict=True)
        ]


def _batch_of(row: Any) -> int | None:
    request: int | None = getattr(row, "request_id", None)
    return request >> PLACE_BITS if request is not None else getattr(row, "batch_id", None)


def is_of_batch(request_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a request is one of the batch beside it: a range, which an index on requests' numbers serves."""
    first = batches.c.id * (1 << PLACE_BITS)
    return and_(request_id > first, request_id <= first + MAX_PLACES)


def batch_of(request_id: ColumnElement[int]) -> ColumnElement[int]:
    """The batch that a request is of."""
    return request_id // (1 << PLACE_BITS)


def place_in_batch() -> ColumnElement[int]:
    """The place of a request beside its batch."""
    return requests.c.id - batches.c.id * (1 << PLACE_BITS)
