"""Delivery: the results of a batch as files, in input order."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from batchmill.failpoints import Failpoint, reached
from batchmill.requests.ids import public_request_id
from batchmill.requests.model import ENDED, RequestState
from batchmill.results.files import ResultFiles, remove_leftovers
from batchmill.results.lines import error_line, note_of, output_line
from batchmill.routing.names import Target
from db import batches, requests
from db.engine import Database
from workers.removed import refuse_removed_meanwhile

_ENDED_EARLY = {
    RequestState.CANCELLED: ("batch_cancelled", "This request was not made because the batch was cancelled."),
    RequestState.EXPIRED: ("batch_expired", "This request was not made before the batch's time was up."),
}


def deliver(database: Database, batch: Any, check: Callable[[], None] = lambda: None) -> None:
    """Write the files of a batch in `finalizing`, then end it. Done twice, it does the same.

    Only one delivery at a time may write to a path; what an earlier one left half-written is removed.

    Args:
        check: Called for every line; what it raises ends the delivery and leaves no trace.

    Raises:
        OutputError: A file cannot be written; the batch stays in `finalizing`.
    """
    write_files(database, batch, Path(batch.output_path), Path(batch.errors_path), check)
    reached(Failpoint.BEFORE_FINISH)
    with database.write() as tx:
        batches.finish(tx, batch.id)


def write_files(
    database: Database, batch: Any, output: Path, errors: Path, check: Callable[[], None] = lambda: None
) -> None:
    """Write the lines that have ended to two files, each whole or not at all; who may write there, see `deliver`."""
    remove_leftovers([output, errors])
    with ResultFiles(output=output, errors=errors) as files:
        for line, answered in ended_lines(database, batch):
            check()
            (files.add_output if answered else files.add_error)(line)
            reached(Failpoint.IN_DELIVERY)


def ended_lines(database: Database, batch: Any) -> Iterator[tuple[bytes, bool]]:
    """The lines of a batch that have ended, in input order, and whether each is answered. Memory stays flat.

    Raises:
        NotFoundError: They were removed meanwhile: these are not all.
    """
    for row in requests.results(database, batch.id):
        if row.state in ENDED:
            yield result_line(batch.public_id, row)
    refuse_removed_meanwhile(database, batch)


def result_line(batch_public_id: str, row: Any) -> tuple[bytes, bool]:
    """The line of a request that has ended, in OpenAI's format, and whether it is answered."""
    name = public_request_id(batch_public_id, row.id)
    state = RequestState(row.state)
    note = note_of(
        asked=Target(provider=row.asked_provider, model=row.asked_model),
        answered=Target(provider=row.provider, model=row.model),
    )
    if state is RequestState.DONE:
        answer = output_line(
            batch_request_id=name,
            custom_id=row.custom_id,
            status_code=row.status_code,
            provider_request_id=row.provider_request_id,
            body=row.body.encode(),
            note=note,
        )
        return answer, True
    if state in _ENDED_EARLY:
        code, message = _ENDED_EARLY[state]
        return error_line(batch_request_id=name, custom_id=row.custom_id, code=code, message=message), False
    failed_by_http = row.status_code is not None and row.status_code >= 400
    failure = error_line(
        batch_request_id=name,
        custom_id=row.custom_id,
        code=row.error_code,
        message=row.error_message,
        status_code=row.status_code if failed_by_http else None,
        provider_request_id=row.provider_request_id,
        body=row.body.encode() if failed_by_http and row.body is not None else None,
        note=note,
    )
    return failure, False
