"""Paths: whom requests were to go to, whom they went to and why, where that is not simply whom they asked for."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from batchmill.requests.work import Job
from batchmill.routing.path import EMPTY, Path, dump_path, load_path
from db.bulk import INT, ROW, STR, Bulk, rows_of
from db.engine import Transaction
from db.prepared import Prepared, among
from db.tables import paths

_columns = {"request_id": INT, "steps": STR}


def _or_replace(insert: Any) -> Any:
    return insert.on_conflict_do_update(index_elements=["request_id"], set_={"steps": insert.excluded.steps})


_put = Bulk(
    _columns,
    set_wise=_or_replace(
        postgresql.insert(paths).from_select(list(_columns), select(*rows_of("postgresql", _columns).c))
    ),
    row_wise=_or_replace(sqlite.insert(paths).values({name: bindparam(f"{ROW}{name}") for name in _columns})),
)
_of = Prepared(select(paths).where(among(paths.c.request_id, "ids")))


def put(tx: Transaction, jobs: Iterable[Job]) -> None:
    """Write down the paths of those of these jobs that have new steps."""
    table = {
        job.request_id: {"request_id": job.request_id, "steps": dump_path(job.path)}
        for job in jobs
        if job.is_path_new
    }
    if table:
        tx.bulk(_put, [table[id_] for id_ in sorted(table)])


def of(tx: Transaction, ids: Sequence[int]) -> dict[int, Path]:
    """The paths of those of these requests that have one."""
    return {row.request_id: load_path(row.steps) for row in tx.rows(_of, ids=list(ids))} if ids else {}


def of_request(tx: Transaction, id_: int) -> Path:
    """The path of one request."""
    return of(tx, [id_]).get(id_, EMPTY)
