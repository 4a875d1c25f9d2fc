"""A run: one file in, one file out, whatever happens in between.

A run is known by what it reads, where it writes and how: interrupted, even by kill -9, the same command goes
on with the same batch. It brings its own workers, which serve its batch alone and never outlive it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchmill.errors import (
    BatchmillError,
    BrokerError,
    ConflictError,
    DatabaseError,
    ProviderError,
    StoppedError,
)
from batchmill.requests.model import BatchState, LineError
from batchmill.results.files import check_writable
from batchmill.settings import Settings
from db import attempts, batches, claims, requests, sweep
from db.engine import Database
from workers import attendance
from workers.addresses import addressing_of
from workers.app import make_app
from workers.assembly import make_database, make_home, make_judge, prepare
from workers.broker import EmbeddedBroker
from workers.budgets import define_environment_budgets
from workers.courier import Courier
from workers.crew import Crew
from workers.delivery import deliver
from workers.doorbell import Doorbell
from workers.embedded import EmbeddedWorker
from workers.intake import take_in
from workers.patience import Patience
from workers.progress import Progress, progress_of
from workers.undertaking import Wanted, find_or_create
from workers.unpriced import price_guard
from workers.upkeep import PAUSED_BY_HAND, UNATTENDED, bury_the_dead, clear_up, leave
from workers.waiting import waited_for

LOOK_EVERY_S = 0.2
SWEEP_EVERY_S = 1.0
ASK_AGAIN_FOR_S = 1.0
"""How long a failing write of our own is tried again at once: deadlocks pass, and `_attend` sits out the rest."""

ANY_QUEUE = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a run."""

    batch_id: str
    progress: Progress
    elapsed_s: float
    output: Path
    errors: Path | None


class Run:
    """One run on one home.

    Args:
        watch: Told of progress, some times a second.
        bad_line: Told of every line that is not valid.
        check: Called often; what it raises (`StoppedError`) stops the run, and the calls in flight finish. An
            exception that a signal raises anywhere else stops it at once.
    """

    def __init__(
        self,
        settings: Settings,
        wanted: Wanted,
        *,
        watch: Callable[[Progress], None],
        bad_line: Callable[[LineError], None],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._wanted = wanted
        self._watch = watch
        self._bad_line = bad_line
        self._check = check
        self._judge = make_judge(settings)
        self._database: Database
        self._broker = EmbeddedBroker(settings.home) if settings.broker.is_embedded else None

    def run(self) -> Report:
        """Take in, answer, deliver; or go on where the same run was interrupted.

        Raises:
            BatchmillError: With what is wrong, where, and what to do; nothing that was accepted is lost.
        """
        begun = time.monotonic()
        wanted = self._wanted
        check_writable([wanted.output, wanted.errors], source=wanted.source.path)
        make_home(self._settings.home)
        key = wanted.key()
        self._database = make_database(self._settings, patience_s=ASK_AGAIN_FOR_S)
        try:
            prepare(self._database)
            define_environment_budgets(self._database, self._settings)
            with (
                attendance.attend(self._settings, wanted.output),
                Courier(self._settings, self._database),
                self._doorbell() as doorbell,
            ):
                clear_up(self._database, self._settings, self._judge)
                batch, resumed = find_or_create(self._database, wanted, key)
                if batch.state == BatchState.FINALIZING:
                    self._deliver(batch)
                else:
                    self._answer(batch, doorbell, is_new=not resumed)
                return self._report(batch, time.monotonic() - begun)
        finally:
            self._database.close()

    @contextlib.contextmanager
    def _doorbell(self) -> Iterator[Doorbell]:
        """A broker that answers, gone afterwards if it was ours."""
        try:
            if self._broker is not None:
                self._broker.wait_until_up()
            doorbell = Doorbell(make_app(self._broker_url, (ANY_QUEUE,)))
            doorbell.waiting(ANY_QUEUE)
            yield doorbell
        finally:
            if self._broker is not None:
                self._broker.stop()

    @property
    def _broker_url(self) -> str:
        if self._broker is not None:
            return self._broker.url
        assert self._settings.broker.url is not None
        return self._settings.broker.url

    def _answer(self, batch: Any, doorbell: Doorbell, *, is_new: bool) -> None:
        """Take the input in, if it is not yet; then have a worker of our own answer it, and deliver."""
        crew = Crew(
            queue=f"run.{batch.public_id}",
            doorbell=doorbell,
            worker=EmbeddedWorker(
                settings=self._settings,
                broker_url=self._broker_url,
                batch=batch.id,
                queue=f"run.{batch.public_id}",
                processes=self._wanted.processes,
                concurrency=self._wanted.concurrency,
            ),
        )
        try:
            crew.worker.ensure()
            if is_new:
                self._take_in(batch)
            self._wanted.source.release()
            self._attend(batch, crew)
            if self._is_traced:
                crew.worker.stop()
        except DatabaseError:
            crew.worker.stop()  # what it has in hand may yet be written; we can tell nobody anything
            raise
        except Exception as error:
            if not (isinstance(error, StoppedError) and error.at_once):
                self._dismiss(batch, crew)
            raise
        finally:
            crew.worker.kill()
        self._dismiss(batch, crew)

    def _take_in(self, batch: Any) -> None:
        take_in(
            self._database,
            batch,
            addressing_of(self._settings, calls_here=True).read(self._wanted.source.lines()),
            self._wanted.options,
            on_bad_line=self._bad_line,
            on_chunk=lambda lines: self._watch(Progress(phase="reading", completed=lines)),
            check=self._check,
            upstreams=self._wanted.upstreams,
            prices=price_guard(self._database, self._settings, batch),
        )

    @property
    def _is_traced(self) -> bool:
        """Whether a worker that has nothing in hand any more may still have spans to send."""
        return self._settings.traces.url is not None

    def _dismiss(self, batch: Any, crew: Crew) -> None:
        """Let the calls in flight finish and leave nothing behind; an unfinished batch stands still from here on."""
        with contextlib.suppress(DatabaseError, BrokerError):
            row = self._row(batch.id)
            leave(self._database, row)
            with self._database.read() as tx:
                is_busy = claims.any_of(tx, batch.id)
            if is_busy:
                self._watch(progress_of(row, "stopping"))
            if is_busy or self._is_traced:
                crew.worker.stop()
        crew.worker.kill()
        with contextlib.suppress(DatabaseError, BrokerError):
            bury_the_dead(self._database, self._settings, self._judge)
            crew.doorbell.remove(crew.queue)

    def _attend(self, batch: Any, crew: Crew) -> None:
        patience = Patience(self._settings.calls.give_up_s, self._database.now_ms())
        while True:
            self._check()
            try:
                if self._look_after(batch, crew, patience):
                    return
                patience.database_is_back()
            except DatabaseError:
                # A server may be on its way back; what SQLite complains of has been waited for, or stays.
                if self._settings.database.is_embedded or patience.database_is_away():
                    raise
            time.sleep(LOOK_EVERY_S)

    def _look_after(self, batch: Any, crew: Crew, patience: Patience) -> bool:
        """See how it goes and lend a hand; whether the answers are delivered."""
        row = self._row(batch.id)
        crew.worker.listen()
        if row.state == BatchState.FINALIZING:
            self._deliver(row)
            return True
        if row.state == BatchState.PAUSED and _is_waited_for(row):
            self._watch(progress_of(row, "paused", _how_to_resume(row)))
            patience.begin_anew()
        else:
            self._watch(progress_of(row, "answering", patience.note(row, crew)))
            self._keep_going(row, crew, patience)
        crew.worker.ensure()
        if time.monotonic() - crew.swept_at > SWEEP_EVERY_S:
            crew.swept_at = time.monotonic()
            self._sweep(row, crew)
        return False

    def _keep_going(self, row: Any, crew: Crew, patience: Patience) -> None:
        if row.state == BatchState.PAUSED and row.paused_reason == UNATTENDED:
            self._resume(row)  # we were asleep for so long that another command took us for dead
        elif row.state not in (BatchState.IN_PROGRESS, BatchState.CANCELLING):
            raise _standing_still(row)
        if patience.is_out(row, crew):
            waiting = waited_for(self._database, row)
            patience.give_up(row, crew, self._oldest_in_flight_ms(row), waiting)

    def _deliver(self, row: Any) -> None:
        self._watch(progress_of(row, "writing"))
        deliver(self._database, row, self._check)

    def _resume(self, row: Any) -> None:
        with self._database.write() as tx:
            batches.resume(tx, row.id)

    def _oldest_in_flight_ms(self, row: Any) -> int:
        """For how long the oldest call in flight has been out; 0 without one."""
        with self._database.read() as tx:
            sent_ms = attempts.oldest_in_flight(tx, *requests.span(row.id))
            return 0 if sent_ms is None else max(1, tx.now_ms - sent_ms)

    def _sweep(self, row: Any, crew: Crew) -> None:
        clear_up(self._database, self._settings, self._judge)
        sweep.sweep(self._database, self._judge, owner=crew.queue)
        crew.waiting = waited_for(self._database, row)
        with self._database.read() as tx:
            claimable = claims.claimable_in(tx, row.id)
        try:
            if self._broker is not None:
                self._broker.ensure()
            if claimable:
                crew.doorbell.ring(
                    queue=crew.queue,
                    lane=row.lane,
                    batch=row.public_id,
                    requests=claimable,
                    least=self._wanted.processes,
                )
            crew.no_broker = None
        except BrokerError as error:
            crew.no_broker = error  # it may come back; the worker goes on with what it knows of

    def _row(self, batch: int) -> Any:
        with self._database.read() as tx:
            return batches.rows(tx, [batch])[batch]

    def _report(self, batch: Any, elapsed_s: float) -> Report:
        row = self._row(batch.id)
        progress = progress_of(row, "done")
        errors = self._wanted.errors if progress.failed else None
        return Report(
            batch_id=row.public_id,
            progress=progress,
            elapsed_s=elapsed_s,
            output=self._wanted.output,
            errors=errors,
        )


def _is_waited_for(row: Any) -> bool:
    """Whether a paused batch will be let go on, by its owner or by the budget that it waits for."""
    return row.waits_for_budget_id is not None or bool(row.paused_reason.startswith(PAUSED_BY_HAND))


def _how_to_resume(row: Any) -> str:
    if row.waits_for_budget_id is not None:
        return str(row.paused_reason)
    return f"{row.paused_reason}; `batchmill resume {row.public_id}` lets it go on"


def _standing_still(row: Any) -> BatchmillError:
    if row.state == BatchState.PAUSED:
        return ProviderError(
            f"batch {row.public_id} is paused: {row.paused_reason}; nothing is lost",
            "put that right, then run the same command again: it goes on",
        )
    return ConflictError(
        f"batch {row.public_id} was ended by somebody else: it is {row.state}",
        "run the same command again: it makes a new batch",
    )
