"""One worker process: what it keeps from task to task, and how it learns that it should stop.

Everything here is made after the fork and kept for the life of the process: one event loop, one engine.
"""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from batchmill.errors import BatchmillError
from batchmill.logs import configure_logs
from batchmill.requests.model import Lane
from batchmill.settings import Settings
from workers.engine import Engine, make_engine
from workers.pump import Pump, Pumped

if TYPE_CHECKING:
    from workers.meters.launch import Meters
    from workers.meters.recorder import Recorder

log = structlog.get_logger()

WATCH_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What the processes of one worker are to do; made before the fork.

    Attributes:
        concurrency: Most calls in flight in each process.
        only_batch: Row number of the one batch they serve; None for all.
        runs_too: Whether they serve batches of `batchmill run`, which bring a worker of their own.
        stopping: Set by the parent when it is told to stop.
    """

    settings: Settings
    concurrency: int
    lanes: tuple[Lane, ...]
    only_batch: int | None = None
    runs_too: bool = True
    stopping: Any = field(default_factory=multiprocessing.get_context("fork").Event)


class Child:
    """This process.

    Args:
        meters: Where it is to write down what it has counted; None = nobody reads that.

    Attributes:
        recorder: Writes it down.
    """

    def __init__(self, duty: Duty, meters: "Meters | None" = None) -> None:
        self.duty = duty
        self.recorder: Recorder | None = None
        self._meters = meters
        self._parent = os.getppid()
        self._engine: Engine | None = None
        self._runner: asyncio.Runner | None = None
        self._busy = threading.Lock()

    def begin(self, role: str = "worker") -> None:
        """Called in the new process, before its first task."""
        self._parent = os.getppid()
        configure_logs(self.duty.settings.log)
        if self._meters is not None:
            self._meters.forget()
            self.recorder = self._meters.recorder(role)
        threading.Thread(target=self._watch_parent, daemon=True, name="watch-parent").start()

    def end(self) -> None:
        """Called in the process as it leaves: it holds nothing any more, so nobody need look for it."""
        engine, runner = self._engine, self._runner
        self._engine = self._runner = None
        if engine is not None and runner is not None:
            runner.run(engine.stop())
            engine.leave()
            runner.close()

    def stopping(self) -> bool:
        """Whether to wind up: told so, or the parent is gone."""
        return self.duty.stopping.is_set() or os.getppid() != self._parent

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Should the parent die meanwhile, this process leaves only when the context ends: watch `stopping`."""
        with self._busy:
            yield

    def answer_requests(self) -> str:
        """Answer requests until none is claimable or the worker is told to stop; what was done, for whoever watches."""
        if self.stopping():
            return Pumped().in_words()
        with self.at_work():
            # The launcher reads these events and tells its user (EmbeddedWorker.trouble).
            try:
                engine, runner = self._keep()
                return runner.run(self._pump(engine)).in_words()
            except BatchmillError as error:
                log.error("pump_stopped", code=error.code, error=error.message, hint=error.hint)
                return f"stopped: {error.code}"
            except Exception as error:
                log.exception("pump_failed", error=f"{type(error).__name__}: {error}")
                return "failed"

    async def _pump(self, engine: Engine) -> Pumped:
        async with engine.journal(runs_too=self.duty.runs_too) as journal:
            pump = Pump(
                claims=journal,
                pipeline=engine.pipeline(journal),
                concurrency=self.duty.concurrency,
                lanes=self.duty.lanes,
                only_batch=self.duty.only_batch,
                stopping=self.stopping,
                renew_every_s=engine.renew_every_s,
                grace_s=self.duty.settings.workers.grace_s,
            )
            return await pump.run()

    def _keep(self) -> tuple[Engine, asyncio.Runner]:
        if self._engine is None or self._runner is None:
            self._engine = make_engine(
                self.duty.settings, concurrency=self.duty.concurrency, recorder=self.recorder
            )
            self._runner = asyncio.Runner()
            # What is there now stays, what comes dies young: the collector need not walk it all so often (7 % faster).
            gc.freeze()
            gc.set_threshold(20_000, 20, 50)
        return self._engine, self._runner

    def _watch_parent(self) -> None:
        while os.getppid() == self._parent:
            time.sleep(WATCH_S)
        # The parent is gone and will send nothing more: let a running pump wind up, then go.
        with self._busy:
            os._exit(0)


_current: Child | None = None


def set_duty(duty: Duty, meters: "Meters | None" = None) -> Child:
    """Say what this process and those forked from it are to do, and where they write down what they count."""
    global _current
    _current = Child(duty, meters)
    return _current


def current() -> Child:
    """This process, as far as it is a worker."""
    if _current is None:
        raise RuntimeError("this process was not started by `batchmill worker`")
    return _current
