"""Hosted batches: each that has ended has the files it owes."""

from sqlalchemy import or_, select

from batchmill.requests.model import BatchState
from db.audit.check import Check
from db.tables import batches

_failed = batches.c.failed + batches.c.cancelled + batches.c.expired

owed = Check(
    name="result-files",
    invariant=1,
    promise="every batch handed in over HTTP that has ended has a file for its answers and one for its failures",
    broken=select(
        batches.c.id.label("batch_id"),
        batches.c.state,
        batches.c.done,
        _failed.label("failed"),
        batches.c.output_file,
        batches.c.error_file,
    ).where(
        batches.c.input_file != "",
        batches.c.state.in_([BatchState.COMPLETED, BatchState.CANCELLED, BatchState.EXPIRED]),
        or_(
            (batches.c.done > 0) != (batches.c.output_file != ""),
            (_failed > 0) != (batches.c.error_file != ""),
        ),
    ),
    tell=lambda row: (
        f"it is {row.state}; {row.done} answered, output file {row.output_file or 'none'};"
        f" {row.failed} failed, error file {row.error_file or 'none'}"
    ),
)
