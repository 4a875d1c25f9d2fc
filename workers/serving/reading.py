"""Reading: the lines of a batch that was handed in over HTTP, from the file that was uploaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from batchmill.errors import (
    BatchmillError,
    DatabaseError,
    InvalidLinesError,
    NotFoundError,
    StoppedError,
    StoreError,
)
from batchmill.requests.lines import read_lines
from batchmill.requests.model import BatchOptions as Options
from batchmill.requests.model import CacheMode, Endpoint, Lane, LineError, OnUnknown, RequestLine
from db import batches, files, hosted, requests, sweep
from db.engine import Database
from workers.addresses import addressing_of, upstreams_of
from workers.intake import read_in
from workers.serving.lease import Lease, LostError
from workers.serving.service import Service
from workers.unpriced import price_guard

MOST_BAD = 100_000
"""After so many bad lines a file is read no further: it is not one of requests, and its faults must not fill memory."""


def read(service: Service, lease: Lease) -> bool:
    """Take in what a batch's file says, or fail the batch with all that is wrong with that; whether it runs.

    Raises:
        StoreError, DatabaseError: It could not be read, or taken in; nobody can say yet whether it is valid.
        StoppedError, LostError: As the lease has it.
    """
    row = lease.row
    discard_rows(service.database, row.id)  # a clerk before us may have been killed
    faults, models = _Faults(), _Models()
    try:
        with _lines(service, row) as lines:
            read_in(
                service.database,
                row,
                addressing_of(service.settings).read(lines),
                _options_of(row),
                keep=lease.keep,
                on_bad_line=faults.note,
                on_line=models.see,
                check=lease.check,
                upstreams=upstreams_of(service.settings),
                prices=price_guard(service.database, service.settings, row),
                most_bad=MOST_BAD,
            )
    except (StoppedError, DatabaseError, StoreError, LostError):
        raise
    except BatchmillError as error:
        _fail(service.database, lease, faults, error)
        return False
    if models.only:
        with service.database.write() as tx:
            hosted.note_model(tx, row.id, models.only)
    return True


def end_unread(service: Service, lease: Lease) -> None:
    """End a batch that was cancelled, or whose time was up, before its file had been read."""
    discard_rows(service.database, lease.row.id)
    with service.database.write() as tx:
        hosted.end_unread(tx, lease.row.id, lease.clerk)


def discard_rows(database: Database, batch: int) -> None:
    """Remove what was taken in of a batch that never started."""
    while True:
        with database.write() as tx:
            if requests.discard(tx, batch, sweep.ROWS_A_STEP) < sweep.ROWS_A_STEP:
                return


@contextmanager
def _lines(service: Service, row: Any) -> Iterator[Iterator[RequestLine | LineError]]:
    with service.database.read() as tx:
        file = files.named(tx, row.input_file, row.tenant)
    if file is None:
        raise NotFoundError(
            f"Cannot find file {row.input_file}: it was deleted, or has expired.", "upload it again"
        )
    with service.store.open(file.public_id) as stream:
        yield read_lines(
            stream,
            max_line_bytes=service.settings.input.max_line_bytes,
            endpoint=Endpoint(row.endpoint),
        )


def _fail(database: Database, lease: Lease, faults: "_Faults", error: BatchmillError) -> None:
    batch = lease.row.id
    with database.write() as tx:
        is_ours = hosted.fail(tx, batch, lease.clerk, faults.told(error), error.message)
    if not is_ours:
        raise LostError("this batch is another clerk's by now, or was cancelled")
    discard_rows(database, batch)
    with database.write() as tx:
        batches.forget(tx, batch)


class _Models:
    """The models that lines ask for, as far as it matters whether that is one.

    Attributes:
        only: The one; "" for none or several.
    """

    def __init__(self) -> None:
        self.only = ""
        self._is_first = True

    def see(self, line: RequestLine) -> None:
        if self._is_first:
            self.only, self._is_first = line.model, False
        elif line.model != self.only:
            self.only = ""


class _Faults:
    """What is wrong with a file: all of it, up to so much."""

    def __init__(self) -> None:
        self._kept: list[LineError] = []
        self._more = 0

    def note(self, fault: LineError) -> None:
        if len(self._kept) < hosted.MOST_FAULTS:
            self._kept.append(fault)
        else:
            self._more += 1

    def told(self, error: BatchmillError) -> list[LineError]:
        """What its producer is told; where no line is at fault, what stopped it."""
        if self._more:
            message = f"{self._more:,} more faults are not listed."
            return [*self._kept, LineError(line=None, code="too_many_errors", message=message)]
        if self._kept and isinstance(error, InvalidLinesError):
            return self._kept
        is_file = isinstance(error, NotFoundError)
        message = error.message if is_file or not error.hint else f"{error.message}; {error.hint}"
        code, param = ("invalid_request", "file_id") if is_file else (error.code, None)
        return [*self._kept, LineError(line=None, code=code, message=message, param=param)]


def _options_of(row: Any) -> Options:
    """The options of a batch, from its row."""
    return Options(
        lane=Lane(row.lane),
        cache=CacheMode(row.cache),
        on_unknown=OnUnknown(row.on_unknown),
        job_name=row.job_name,
        request_type=row.request_type,
        tenant=row.tenant,
        user=row.user_id,
        agent=row.agent,
        routing=row.routing,
    )
