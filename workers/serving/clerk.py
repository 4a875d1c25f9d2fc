"""The clerk: reads the files of batches handed in over HTTP, writes those that are owed, and clears up behind.

All that there is to do stands in the database, is leased there, and is done anew by whoever comes next should a
clerk be killed: any number of them may work side by side, on any machine that reaches the file store.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import structlog

from batchmill.errors import (
    BatchmillError,
    ConflictError,
    DatabaseError,
    InvalidLinesError,
    NotFoundError,
    StoppedError,
    StoreError,
)
from batchmill.files.model import Purpose
from batchmill.requests.lines import read_lines
from batchmill.requests.model import BatchOptions as Options
from batchmill.requests.model import BatchState, CacheMode, Endpoint, Lane, LineError, OnUnknown, RequestLine
from batchmill.settings import Settings
from db import batches, files, hosted, idempotency, requests, sweep
from db import workers as worker_rows
from db.engine import Database
from workers.addresses import addressing_of, upstreams_of
from workers.delivery import ended_lines
from workers.intake import read_in
from workers.serving import files as kept_files
from workers.serving.batch_object import batch_object, usage_text
from workers.serving.files import Upload
from workers.serving.idempotency import KEPT_FOR_MS
from workers.serving.service import Service
from workers.serving.webhooks import Postman
from workers.unpriced import price_guard

log = structlog.get_logger()

LEASE_MS = 30_000
RENEW_EVERY_S = 5.0
LOOK_EVERY_S = 0.1
AGAIN_AFTER_MS = 2_000
"""Where the database or the store is away, a batch waits so long."""
CLEAN_UP_EVERY_S = 30.0
CLERKS = 2
"""So many batches are read or written at a time: a large one keeps no small one waiting."""


class Clerk:
    """Does what there is to do, in a thread of its own, until stopped.

    Args:
        on_started: Told the row of a batch whose lines are to be answered from now on.
    """

    def __init__(self, service: Service, on_started: Callable[[Any], None] = lambda _: None) -> None:
        self._service = service
        self._on_started = on_started
        self._name = worker_rows.new_id()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="clerk", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End. What is half-done is left to whoever comes next."""
        self._stopping.set()
        self._thread.join()

    def step(self) -> bool:
        """Do one thing; whether there was any.

        Raises:
            BatchmillError: It could not be done; the batch waits for a moment, and is taken up again.
        """
        with self._database.write() as tx:
            row = hosted.take(tx, self._name, LEASE_MS)
        if row is None:
            return False
        with self._held(row.id):
            match row.state:
                case BatchState.VALIDATING:
                    self._read(row)
                case BatchState.FINALIZING:
                    self._deliver(row)
                case BatchState.CANCELLING:
                    self._end_unread(row)
        return True

    @property
    def _database(self) -> Database:
        return self._service.database

    @property
    def _settings(self) -> Settings:
        return self._service.settings

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                busy = self.step()
            except StoppedError:
                return
            except BatchmillError as error:
                log.warning("clerk_failed", code=error.code, error=error.message, hint=error.hint)
                busy = False
            except Exception as error:
                log.exception("clerk_failed", error=f"{type(error).__name__}: {error}")
                busy = False
            if not busy:
                self._stopping.wait(LOOK_EVERY_S)

    @contextmanager
    def _held(self, batch: int) -> Iterator[None]:
        """Let a batch go again when it is done with; after a pause where that failed."""
        delay_ms = AGAIN_AFTER_MS
        try:
            yield
            delay_ms = 0
        except StoppedError:
            delay_ms = 0
            raise
        finally:
            with suppress(DatabaseError), self._database.write() as tx:
                hosted.let_go(tx, batch, self._name, delay_ms)

    def _read(self, row: Any) -> None:
        """Take in what a batch's file says; or fail it with all that is wrong with that."""
        self._discard_rows(row.id)  # a clerk before us may have been killed
        faults = _Faults()
        models: set[str] = set()
        states = (BatchState.VALIDATING,)
        keep = partial(hosted.renew, batch=row.id, clerk=self._name, lease_ms=LEASE_MS, states=states)
        try:
            with self._lines(row) as lines:
                read_in(
                    self._database,
                    row,
                    addressing_of(self._settings).read(lines),
                    _options_of(row),
                    keep=keep,
                    on_bad_line=faults.note,
                    on_line=partial(_note_model, models),
                    check=self._check(row.id, states),
                    upstreams=upstreams_of(self._settings),
                    prices=price_guard(self._database, self._settings, row),
                )
            self._on_started(row)
            if len(models) == 1:
                with self._database.write() as tx:
                    hosted.note_model(tx, row.id, models.pop())
        except (StoppedError, DatabaseError, StoreError, _LostError):
            raise
        except BatchmillError as error:
            self._fail(row, faults, error)

    @contextmanager
    def _lines(self, row: Any) -> Iterator[Iterator[RequestLine | LineError]]:
        with self._database.read() as tx:
            file = files.named(tx, row.input_file, row.tenant)
        if file is None:
            raise NotFoundError(
                f"Cannot find file {row.input_file}, or it has no content.", "upload it again"
            )
        with self._service.store.open(file.public_id) as stream:
            yield read_lines(
                stream,
                max_line_bytes=self._settings.input.max_line_bytes,
                endpoint=Endpoint(row.endpoint),
            )

    def _fail(self, row: Any, faults: "_Faults", error: BatchmillError) -> None:
        with self._database.write() as tx:
            is_ours = hosted.fail(tx, row.id, self._name, faults.told(error), error.message)
        if is_ours:
            self._discard_rows(row.id)
            with self._database.write() as tx:
                batches.forget(tx, row.id)

    def _deliver(self, row: Any) -> None:
        """Write the files of a batch whose lines have all ended; an empty one is none."""
        check = self._check(row.id, (BatchState.FINALIZING,))
        with ExitStack() as stack:
            uploads: dict[bool, Upload] = {}
            for line, is_answered in ended_lines(self._database, row):
                check()
                if is_answered not in uploads:
                    uploads[is_answered] = stack.enter_context(self._upload(row, is_answered))
                uploads[is_answered].write(line)
            for upload in uploads.values():
                upload.seal()
            self._finish(row, uploads)
            for upload in uploads.values():
                upload.keep()

    def _finish(self, row: Any, uploads: dict[bool, Upload]) -> None:
        with self._database.write() as tx:
            usage = usage_text(hosted.tokens(tx, row)) if row.calls else ""
            names = {is_answered: upload.enter(tx).public_id for is_answered, upload in uploads.items()}
            ended = hosted.finish(
                tx,
                row.id,
                self._name,
                output_file=names.get(True, ""),
                error_file=names.get(False, ""),
                usage=usage,
            )
            if ended is None:
                raise _LostError("another clerk has ended this batch")

    def _upload(self, row: Any, is_answered: bool) -> Upload:
        return Upload(
            self._database,
            self._service.store,
            tenant=row.tenant,
            purpose=Purpose.BATCH_OUTPUT,
            filename=f"{row.public_id}_{'output' if is_answered else 'error'}.jsonl",
            expires_s=row.output_expires_s,
        )

    def _end_unread(self, row: Any) -> None:
        """End a batch that was cancelled before its file had been read."""
        self._discard_rows(row.id)
        with self._database.write() as tx:
            hosted.end_unread(tx, row.id, self._name)

    def _discard_rows(self, batch: int) -> None:
        while True:
            with self._database.write() as tx:
                if requests.discard(tx, batch, sweep.ROWS_A_STEP) < sweep.ROWS_A_STEP:
                    return

    def _check(self, batch: int, states: tuple[BatchState, ...]) -> Callable[[], None]:
        """To be called for every line: it stops a clerk that is to stop, and keeps the lease of one that goes on."""
        renewed_at = time.monotonic()

        def check() -> None:
            nonlocal renewed_at
            if self._stopping.is_set():
                raise StoppedError("the clerk was stopped")
            if time.monotonic() - renewed_at > RENEW_EVERY_S:
                renewed_at = time.monotonic()
                with self._database.write() as tx:
                    if not hosted.renew(tx, batch, self._name, LEASE_MS, states):
                        raise _LostError("this batch is another clerk's by now, or was cancelled")

        return check


class Office:
    """The clerks of one process, one who clears up behind them, and one who tells how batches ended.

    Args:
        on_started: As `Clerk` has it.
    """

    def __init__(self, service: Service, on_started: Callable[[Any], None] = lambda _: None) -> None:
        self._service = service
        self._clerks = [Clerk(service, on_started) for _ in range(CLERKS)]
        self._postman = Postman(
            service.database,
            service.settings.webhook.secret,
            batch_object,
            to_private=service.posts_to_private,
        )
        self._stopping = threading.Event()
        self._caretaker = threading.Thread(target=self._clear_up, name="caretaker", daemon=True)

    def __enter__(self) -> "Office":
        for clerk in self._clerks:
            clerk.start()
        self._caretaker.start()
        self._postman.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for clerk in self._clerks:
            clerk.stop()
        self._postman.stop()
        self._caretaker.join()

    def _clear_up(self) -> None:
        while not self._stopping.wait(CLEAN_UP_EVERY_S):
            try:
                clean_up(self._service)
            except BatchmillError as error:
                log.warning("clean_up_failed", code=error.code, error=error.message, hint=error.hint)


def clean_up(service: Service) -> None:
    """Remove files that have expired or were left half-written, and names of requests from yesterday."""
    kept_files.clean_up(service.database, service.store)
    with service.database.write() as tx:
        idempotency.forget(tx, KEPT_FOR_MS)


class _LostError(ConflictError):
    """A batch is no longer this clerk's."""


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


def _note_model(models: set[str], line: RequestLine) -> None:
    if len(models) < 2:
        models.add(line.model)
