"""Results as they come: which requests of a batch have ended, read while others are still being answered.

Every state that ends a request is for good, so what was seen to have ended never needs a second look, and what
was still open is simply asked about again. No order of commits is relied upon.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable, bindparam, func, select

from batchmill.requests.ids import place_of
from batchmill.requests.model import ENDED
from db.bulk import INT
from db.engine import Transaction
from db.prepared import Prepared, among
from db.requests import RESULTS, span
from db.tables import answers, requests

_states = (
    select(requests.c.id, requests.c.state)
    .where(requests.c.id >= bindparam("first"), requests.c.id <= bindparam("last"))
    .order_by(requests.c.id)
    .limit(bindparam("most", type_=INT))
)
_ended_of = (
    select(requests.c.id)
    .where(requests.c.id.in_(bindparam("ids", expanding=True)), requests.c.state.in_(ENDED))
    .order_by(requests.c.id)
)
_results_of = RESULTS.where(requests.c.id.in_(bindparam("ids", expanding=True))).order_by(requests.c.id)


def _sizes_statement(dialect: str) -> Executable:
    # PostgreSQL knows the bytes of a text without reading it; SQLite counts characters, which is near enough.
    bytes_of = func.octet_length if dialect == "postgresql" else func.length
    size = func.coalesce(bytes_of(answers.c.body), 0).label("size")
    return (
        select(requests.c.id, size)
        .join_from(requests, answers, answers.c.id == requests.c.answer_id, isouter=True)
        .where(among(requests.c.id, "ids"))
    )


_sizes = Prepared(_sizes_statement)


def states(tx: Transaction, first: int, last: int, most: int) -> Sequence[Any]:
    """The first so many requests from `first` to `last`: rows of (id, state), in input order."""
    return tx.rows(_states, first=first, last=last, most=most)


def ended_of(tx: Transaction, ids: Sequence[int]) -> list[int]:
    """Those of these requests that have ended, in input order."""
    return [row.id for row in tx.rows(_ended_of, ids=list(ids))] if ids else []


def of(tx: Transaction, ids: Sequence[int]) -> Sequence[Any]:
    """These requests with their answers, in input order."""
    return tx.rows(_results_of, ids=list(ids)) if ids else []


def sizes(tx: Transaction, ids: Sequence[int]) -> dict[int, int]:
    """About how many bytes the answers of these requests take, without reading them where that can be told."""
    return {row.id: int(row.size) for row in tx.rows(_sizes, ids=list(ids))} if ids else {}


def taken_in(tx: Transaction, batch: int) -> int:
    """How many lines of a batch are stored so far."""
    first, last = span(batch)
    found = tx.rows(select(func.max(requests.c.id)).where(requests.c.id.between(first, last)))[0][0]
    return place_of(found) if found is not None else 0
