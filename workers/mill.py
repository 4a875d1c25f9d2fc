"""The embedded mill: broker, worker, sweep and schedules of one home, so that what is submitted there is answered.

Nothing it starts outlives it; killed, even by kill -9, the next command on the home puts right what it left. Several
on one home work side by side: they share the broker, and whoever is left takes it over.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from batchmill.errors import BrokerError, DatabaseError, StoppedError, WorkerError
from batchmill.requests.model import BatchState, Lane
from batchmill.settings import Settings
from db import claims, listings, sweep, workers
from db.engine import Database
from workers import attendance
from workers.addresses import upstreams_of
from workers.app import make_app
from workers.assembly import make_home, make_judge
from workers.broker import EmbeddedBroker
from workers.courier import Courier
from workers.doorbell import Doorbell
from workers.embedded import EmbeddedWorker
from workers.jobs.keeper import Keeper
from workers.serving.clerk import Office
from workers.serving.front import Front
from workers.serving.service import make_service
from workers.upkeep import bury_the_dead, clear_up, ring

LOOK_EVERY_S = 0.2
SWEEP_EVERY_S = 1.0
MOST_RESTARTS = 5
RESTARTS_WITHIN_S = 60.0
REMEMBERED = 100
"""Of what has been told, to tell it once."""


class EmbeddedMill:
    """Answers what is submitted on one home. Batches of `batchmill run` are left to their commands.

    Args:
        concurrency: Most calls in flight in each process.
        tell: Told, in a sentence, what people should know of.
        front: Answers HTTP for as long as the mill runs.
        on_up: Called once it answers.
        check: Called often; what it raises (`StoppedError`) stops the mill, and the calls in flight finish. An
            exception that a signal raises anywhere else stops it at once.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        lanes: tuple[Lane, ...] = tuple(Lane),
        processes: int,
        concurrency: int,
        tell: Callable[[str], None],
        check: Callable[[], None] = lambda: None,
        front: Front | None = None,
        on_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._lanes = lanes
        self._upstreams = upstreams_of(settings)
        self._tell = tell
        self._check = check
        self._front = front
        self._on_up = on_up
        self._judge = make_judge(settings)
        self._broker = EmbeddedBroker(settings.home)
        self._doorbell = Doorbell(make_app(self._broker.url, tuple(lanes)))
        self._worker = EmbeddedWorker(
            settings=settings,
            broker_url=self._broker.url,
            lanes=lanes,
            processes=processes,
            concurrency=concurrency * processes,
            metrics_port=settings.metrics.port if front is None else 0,
        )
        self._name = workers.new_id()
        self._deaths: deque[float] = deque(maxlen=MOST_RESTARTS + 1)
        self._told: deque[str] = deque(maxlen=REMEMBERED)
        self._swept_at = float("-inf")
        self._database: Database

    def run(self, *, until_idle: bool = False) -> None:
        """Work until stopped; or until nothing that is submitted has anything left to do.

        Raises:
            StoppedError: `check` raised it; the calls in flight have finished.
            WorkerError: The worker keeps dying.
            BrokerError: The embedded broker does not start.
            DatabaseError: The database cannot be written.
        """
        make_home(self._settings.home)
        # Without a front nobody says that none but this machine's user has handed in what is told by webhook.
        service = make_service(self._settings, wants_keys=self._front is None or self._front.wants_keys)
        self._database = service.database
        try:
            with (
                attendance.attend_home(self._settings),
                Courier(self._settings, self._database),
                contextlib.nullcontext() if until_idle else Keeper(self._settings, self._database),
                Office(service, on_started=self._look_at_once),
            ):
                self._broker.wait_until_up()
                self._work(until_idle)
        finally:
            self._broker.stop()
            service.close()

    def _work(self, until_idle: bool) -> None:
        try:
            self._open_front()
            while not self._look_after() or not until_idle:
                self._check()
                time.sleep(LOOK_EVERY_S)
            self._worker.stop()  # it may have found something just now
        except StoppedError as stopped:
            if not stopped.at_once:
                self._tell("stopping: the calls in flight may finish; once more ends them at once")
                if self._front is not None:
                    self._front.stop()
                self._worker.stop()
            raise
        except DatabaseError:
            self._worker.stop()  # what it has in hand may yet be written
            raise
        finally:
            if self._front is not None:
                self._front.kill()
            self._worker.kill()
            with contextlib.suppress(DatabaseError):
                bury_the_dead(self._database, self._settings, self._judge)

    def _look_at_once(self, _batch: Any) -> None:
        """There is something new to ring for."""
        self._swept_at = float("-inf")

    def _open_front(self) -> None:
        if self._front is not None:
            self._keep_worker()  # beside each other: both take a moment
            self._front.ensure()
            self._front.wait_until_up()
            self._on_up()

    def _look_after(self) -> bool:
        """See how it goes and lend a hand; whether nothing is left to do."""
        self._keep_worker()
        if self._front is not None:
            self._front.ensure()
        if time.monotonic() - self._swept_at < SWEEP_EVERY_S:
            return False
        self._swept_at = time.monotonic()
        clear_up(self._database, self._settings, self._judge)
        sweep.sweep(self._database, self._judge, owner=self._name)
        try:
            self._broker.ensure()
            self._ring()
        except BrokerError as error:
            self._tell_once(f"{error.message}; the worker goes on with what it knows of")
        return self._is_idle()

    def _keep_worker(self) -> None:
        restarts = self._worker.restarts
        self._worker.ensure()
        self._worker.listen()
        if self._worker.trouble:
            self._tell_once(f"the worker says: {self._worker.trouble} (its log is {self._worker.log_path})")
        if self._worker.restarts == restarts:
            return
        self._deaths.append(time.monotonic())
        if len(self._deaths) > MOST_RESTARTS and self._deaths[-1] - self._deaths[0] < RESTARTS_WITHIN_S:
            why = f": {self._worker.trouble}" if self._worker.trouble else ""
            raise WorkerError(
                f"the worker died {len(self._deaths)} times within {RESTARTS_WITHIN_S:.0f} s{why}",
                f"the worker's log is {self._worker.log_path}",
            )

    def _ring(self) -> None:
        with self._database.read() as tx:
            with_work = claims.lanes_with_work(tx, submitted_for=self._upstreams.served())
        served = {lane: work for lane, work in with_work.items() if lane in self._lanes}
        ring(self._database, self._doorbell, served, least=self._worker.processes)

    def _is_idle(self) -> bool:
        """Whether no submitted batch can go on here, and no call is out, as of one paused meanwhile may be.

        What is meant for another address or lane waits for others.
        """
        with self._database.read() as tx:
            to_do, idle = listings.submitted_to_do(tx), not claims.any_of_submitted(tx)
        for row in to_do:
            if row.state == BatchState.IN_PROGRESS and row.upstream not in self._upstreams.served():
                self._tell_once(
                    f"batch {row.public_id} waits for a worker that calls {row.upstream};"
                    f" this one calls {self._upstreams.of_usable}"
                )
            elif row.state != BatchState.IN_PROGRESS or Lane(row.lane) in self._lanes:
                idle = False
        return idle

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.append(text)
            self._tell(text)
