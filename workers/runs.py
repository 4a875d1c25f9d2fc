"""A run: one file in, one file out, whatever happens in between.

A run is known by what it reads, where it writes and how: interrupted, even by kill -9, the same command goes
on with the same batch. It brings its own workers, which serve its batch alone and never outlive it.
"""

import contextlib
import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import structlog

from batchmill.errors import BatchmillError, ConflictError, DatabaseError, ProviderError
from batchmill.requests.model import BatchOptions, BatchState, LineError
from batchmill.requests.source import InputFile
from batchmill.results.files import check_writable
from batchmill.settings import Settings
from db import batches, claims, sweep
from workers.app import make_app
from workers.assembly import make_judge, prepared_database
from workers.broker import EmbeddedBroker
from workers.delivery import deliver
from workers.doorbell import Doorbell
from workers.embedded import EmbeddedWorker
from workers.intake import take_in
from workers.upkeep import bury_the_dead

log = structlog.get_logger()

LOOK_EVERY_S = 0.2
SWEEP_EVERY_S = 1.0
GIVE_UP_AFTER_S = 60.0
MOST_RESTARTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a run is asked to do.

    Attributes:
        concurrency: Calls in flight, over all its processes.
        fresh: Give up an unfinished batch for the same output, if there is one.
    """

    input: Path
    output: Path
    errors: Path
    options: BatchOptions
    processes: int
    concurrency: int
    fresh: bool = False

    def key(self, sha256: str) -> str:
        """What tells this run from others: input, output and options, but not how fast it is done."""
        parts = [sha256, str(self.output), str(self.errors), asdict(self.options)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come.

    Attributes:
        phase: `reading` (then `completed` counts lines taken in), `answering` or `writing`.
        spent_nanos: What it has cost as far as that is known.
        unpriced: Answers whose cost is not known.
        note: Why it does not go on, if it does not; "" otherwise.
    """

    phase: str
    total: int = 0
    completed: int = 0
    failed: int = 0
    cached: int = 0
    calls: int = 0
    unknown_attempts: int = 0
    spent_nanos: int = 0
    unpriced: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a run."""

    batch_id: str
    progress: Progress
    elapsed_s: float
    output: Path
    errors: Path | None
    resumed: bool


class Run:
    """One run on one home.

    Args:
        watch: Told of progress, some times a second.
        bad_line: Told of every line that is not valid.
    """

    def __init__(
        self,
        settings: Settings,
        wanted: Wanted,
        *,
        watch: Callable[[Progress], None],
        bad_line: Callable[[LineError], None],
    ) -> None:
        self._settings = settings
        self._wanted = wanted
        self._watch = watch
        self._bad_line = bad_line
        self._database = prepared_database(settings)
        self._judge = make_judge(settings)
        self._broker = EmbeddedBroker(settings.home) if settings.broker.is_embedded else None

    def run(self) -> Report:
        """Take in, answer, deliver; or go on where the same run was interrupted.

        Raises:
            BatchmillError: With what is wrong, where, and what to do; nothing that was accepted is lost.
        """
        begun = time.monotonic()
        wanted = self._wanted
        check_writable([wanted.output, wanted.errors], source=wanted.input)
        source = InputFile(wanted.input, max_line_bytes=self._settings.input.max_line_bytes)
        key = wanted.key(source.sha256())
        try:
            bury_the_dead(self._database, self._settings, self._judge)
            with _output_lock(self._settings.home, wanted.output):
                batch, resumed = self._find_or_create(key)
                with self._crew(batch) as crew:
                    if not resumed:
                        self._take_in(batch, source)
                    self._attend(batch, crew)
                return self._report(batch, time.monotonic() - begun, resumed)
        finally:
            self._database.close()

    def _find_or_create(self, key: str) -> tuple[Any, bool]:
        """The unfinished batch of this very run, or a new one; and whether it is to be gone on with."""
        wanted = self._wanted
        with self._database.read() as tx:
            unfinished = batches.unfinished_at(tx, str(wanted.output))
        if unfinished is not None and unfinished.state == BatchState.VALIDATING:
            sweep.discard(self._database, unfinished.id, "its ingest was interrupted")
        elif unfinished is not None and unfinished.run_key == key and not wanted.fresh:
            with self._database.write() as tx:
                batches.resume(tx, unfinished.id)
            return unfinished, True
        elif unfinished is not None:
            self._give_up(unfinished)
        with self._database.write() as tx:
            created = batches.create(
                tx,
                wanted.options,
                run_key=key,
                output_path=str(wanted.output),
                errors_path=str(wanted.errors),
            )
        return created, False

    def _take_in(self, batch: Any, source: InputFile) -> None:
        take_in(
            self._database,
            batch,
            source.lines(),
            self._wanted.options,
            on_bad_line=self._bad_line,
            on_chunk=lambda lines: self._watch(Progress(phase="reading", completed=lines)),
        )

    def _give_up(self, unfinished: Any) -> None:
        if not self._wanted.fresh:
            raise ConflictError(
                f'"{self._wanted.output}" is owed the results of {unfinished.public_id}, an unfinished batch of'
                " another input or other options",
                "run that command again to finish it, name another output, or give it up with --fresh",
            )
        with self._database.write() as tx:
            batches.cancel(tx, unfinished.id)
        sweep.end_idle(self._database, unfinished.id, BatchState.CANCELLED)
        with self._database.write() as tx:
            batches.finish(tx, unfinished.id)

    @contextlib.contextmanager
    def _crew(self, batch: Any) -> Iterator["_Crew"]:
        """A broker and a worker for this batch, gone when the run is."""
        queue = f"run.{batch.public_id}"
        broker_url = self._settings.broker.url
        if self._broker is not None:
            self._broker.wait_until_up()
            broker_url = self._broker.url
        assert broker_url is not None
        worker = EmbeddedWorker(
            settings=self._settings,
            broker_url=broker_url,
            batch=batch.id,
            queue=queue,
            processes=self._wanted.processes,
            concurrency=self._wanted.concurrency,
        )
        crew = _Crew(queue=queue, doorbell=Doorbell(make_app(broker_url, (queue,))), worker=worker)
        worker.ensure()
        try:
            yield crew
        finally:
            self._dismiss(batch, crew)

    def _dismiss(self, batch: Any, crew: "_Crew") -> None:
        with contextlib.suppress(BatchmillError):
            crew.doorbell.remove(crew.queue)
        try:
            with self._database.read() as tx:
                is_busy = claims.any_of(tx, batch.id)
        except BatchmillError:
            is_busy = True
        if is_busy:
            crew.worker.stop()
        else:
            crew.worker.kill()
        with contextlib.suppress(BatchmillError):
            bury_the_dead(self._database, self._settings, self._judge)
        if self._broker is not None:
            self._broker.stop()

    def _attend(self, batch: Any, crew: "_Crew") -> None:
        patience = _Patience()
        swept_at = float("-inf")
        while True:
            row = self._row(batch.id)
            self._watch(_progress(row, "answering"))
            if row.state == BatchState.FINALIZING:
                self._watch(_progress(row, "writing"))
                deliver(self._database, row)
                return
            if row.state not in (BatchState.IN_PROGRESS, BatchState.CANCELLING):
                raise _standing_still(row)
            patience.check(row, crew.worker)
            crew.worker.ensure()
            if time.monotonic() - swept_at > SWEEP_EVERY_S:
                swept_at = time.monotonic()
                self._sweep(row, crew)
            time.sleep(LOOK_EVERY_S)

    def _sweep(self, row: Any, crew: "_Crew") -> None:
        if self._broker is not None:
            self._broker.ensure()
        sweep.sweep(self._database, self._judge, owner=crew.queue)
        with self._database.read() as tx:
            claimable = claims.claimable_in(tx, row.id)
        if claimable:
            crew.doorbell.ring(
                queue=crew.queue,
                lane=row.lane,
                batch=row.public_id,
                requests=claimable,
                least=self._wanted.processes,
            )

    def _row(self, batch: int) -> Any:
        with self._database.read() as tx:
            return batches.rows(tx, [batch])[batch]

    def _report(self, batch: Any, elapsed_s: float, resumed: bool) -> Report:
        row = self._row(batch.id)
        progress = _progress(row, "done")
        errors = self._wanted.errors if progress.failed else None
        return Report(
            batch_id=row.public_id,
            progress=progress,
            elapsed_s=elapsed_s,
            output=self._wanted.output,
            errors=errors,
            resumed=resumed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crew:
    """What a run brings along to have its batch answered."""

    queue: str
    doorbell: Doorbell
    worker: EmbeddedWorker


class _Patience:
    """Ends a run that cannot go on: nothing has moved for a minute, and we know why."""

    def __init__(self) -> None:
        self._moved_at = time.monotonic()
        self._seen: tuple[int, ...] = ()

    def check(self, row: Any, worker: EmbeddedWorker) -> None:
        now = time.monotonic()
        seen = (row.done, row.failed, row.spent_nanos)
        if seen != self._seen:
            self._seen, self._moved_at = seen, now
        if worker.restarts > MOST_RESTARTS:
            raise DatabaseError(
                f"the worker process died {worker.restarts} times; nothing is lost",
                f"its log is {worker.settings.home / 'logs' / 'worker.log'}; then run the same command again",
            )
        if now - self._moved_at > GIVE_UP_AFTER_S and row.last_error.startswith("unreachable"):
            raise ProviderError(
                f"the provider has not been reached for {GIVE_UP_AFTER_S:.0f} s ({row.last_error}); nothing is lost",
                "check OPENAI_BASE_URL and the network, then run the same command again: it goes on",
            )


def _standing_still(row: Any) -> ProviderError:
    return ProviderError(
        f"batch {row.public_id} is {row.state}: {row.paused_reason or row.last_error}; nothing is lost",
        "put that right, then run the same command again: it goes on",
    )


def _progress(row: Any, phase: str) -> Progress:
    return Progress(
        phase=phase,
        total=row.total,
        completed=row.done,
        failed=row.failed + row.cancelled + row.expired,
        cached=row.cached,
        calls=row.calls,
        unknown_attempts=row.unknown_attempts,
        spent_nanos=row.spent_nanos,
        unpriced=row.unpriced,
        note=row.last_error,
    )


@contextlib.contextmanager
def _output_lock(home: Path, output: Path) -> Iterator[IO[bytes]]:
    """One command at a time for an output path; the lock goes with the process, however that ends."""
    folder = home / "run" / "outputs"
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(str(output).encode()).hexdigest()[:32]
    with (folder / name).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f'another command is writing "{output}" right now', "wait for it, or name another output"
            ) from None
        yield lock
