"""One worker process: what it keeps from task to task, and how it learns that it should stop.

Everything here is made after the fork and kept for the life of the process: one event loop, one session to
the provider, one database connection that writes, one fresh UUID.
"""

import asyncio
import contextlib
import fcntl
import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import structlog

from batchmill.budgets.aside import SetAside
from batchmill.errors import BatchmillError
from batchmill.limits.gate import Gate
from batchmill.logs import configure_logs
from batchmill.pipeline import Pipeline
from batchmill.providers.base import Provider
from batchmill.requests.judge import Judge
from batchmill.requests.model import Lane
from batchmill.settings import Settings
from db import workers as worker_rows
from db.engine import Database
from db.journal import Journal
from workers.addresses import ENDPOINTS, misfit_of, upstreams_of
from workers.assembly import circuit_rules, make_database, make_judge, make_providers
from workers.budgets import define_environment_budgets
from workers.limits import make_gate
from workers.prices import FollowedPrices, file_prices
from workers.pump import Pump

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


@dataclass(slots=True)
class _Kept:
    """What a process keeps from task to task."""

    runner: asyncio.Runner
    database: Database
    providers: Mapping[str, Provider]
    gate: Gate
    judge: Judge
    prices: FollowedPrices
    worker_id: str
    life_sign: IO[bytes]
    aside: SetAside = field(default_factory=SetAside)


class Child:
    """This process."""

    def __init__(self, duty: Duty) -> None:
        self.duty = duty
        self._parent = os.getppid()
        self._kept: _Kept | None = None
        self._busy = threading.Lock()

    def begin(self) -> None:
        """Called in the new process, before its first task."""
        self._parent = os.getppid()
        configure_logs(self.duty.settings.log)
        threading.Thread(target=self._watch_parent, daemon=True, name="watch-parent").start()

    def end(self) -> None:
        """Called in the process as it leaves: it holds nothing any more, so nobody need look for it."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            kept.runner.run(kept.gate.close())
            for provider in kept.providers.values():
                kept.runner.run(provider.close())
            with contextlib.suppress(BatchmillError), kept.database.write() as tx:
                if not worker_rows.claims_of(tx, [kept.worker_id]):
                    worker_rows.leave(tx, kept.worker_id)
            kept.database.close()
            kept.runner.close()
            (life_signs(self.duty.settings.home) / kept.worker_id).unlink(missing_ok=True)

    def stopping(self) -> bool:
        """Whether to wind up: told so, or the parent is gone."""
        return self.duty.stopping.is_set() or os.getppid() != self._parent

    def answer_requests(self) -> int:
        """Answer requests until none is claimable or the worker is told to stop; how many were claimed."""
        if self.stopping():
            return 0
        with self._busy:
            # The launcher reads these events and tells its user (EmbeddedWorker.trouble).
            try:
                kept = self._keep()
                return kept.runner.run(self._pump(kept))
            except BatchmillError as error:
                log.error("pump_stopped", code=error.code, error=error.message, hint=error.hint)
            except Exception as error:
                log.exception("pump_failed", error=f"{type(error).__name__}: {error}")
            return 0

    async def _pump(self, kept: _Kept) -> int:
        settings = self.duty.settings
        journal = Journal(
            kept.database,
            kept.worker_id,
            lease_ms=int(settings.workers.lease_s * 1000),
            upstreams=upstreams_of(settings).served(),
            runs_too=self.duty.runs_too,
            call_timeout_s=settings.calls.timeout_s,
            rules=circuit_rules(settings),
        )
        kept.prices.outlook.open_circuits = journal.open_circuits
        async with journal.open(), kept.prices.followed(every_s=settings.workers.lease_s / 3):
            pipeline = Pipeline(
                journal=journal,
                providers=kept.providers,
                limits=kept.gate,
                routes=kept.prices.router,
                offers=kept.prices.offers,
                judge=kept.judge,
                call_timeout_s=settings.calls.timeout_s,
                now_ms=kept.database.now_ms,
                output_cap_tokens=settings.budgets.output_cap_tokens,
                aside=kept.aside,
            )
            pump = Pump(
                claims=journal,
                pipeline=pipeline,
                concurrency=self.duty.concurrency,
                lanes=self.duty.lanes,
                only_batch=self.duty.only_batch,
                stopping=self.stopping,
                renew_every_s=settings.workers.lease_s / 3,
                grace_s=settings.workers.grace_s,
            )
            renewing = asyncio.create_task(kept.gate.renew_on(), name="limits")
            try:
                return await pump.run()
            finally:
                renewing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await renewing

    def _keep(self) -> _Kept:
        if self._kept is None:
            settings = self.duty.settings
            database = make_database(settings)
            worker_id = worker_rows.new_id()
            life_sign = show_life(settings.home, worker_id)
            with database.write() as tx:
                worker_rows.register(tx, worker_id, str(settings.home))
            define_environment_budgets(database, settings)
            gate = make_gate(settings, concurrency=self.duty.concurrency)
            made = make_providers(settings, self.duty.concurrency)
            providers: Mapping[str, Provider] = {name.value: provider for name, provider in made.items()}
            prices = FollowedPrices(
                database,
                file_prices(settings),
                output_cap_tokens=settings.budgets.output_cap_tokens,
                upstreams=upstreams_of(settings),
                misfit=misfit_of(providers),
                endpoints=ENDPOINTS,
                gate=gate,
            )
            # What is there now stays, what comes dies young: the collector need not walk it all so often (7 % faster).
            gc.freeze()
            gc.set_threshold(20_000, 20, 50)
            self._kept = _Kept(
                runner=asyncio.Runner(),
                database=database,
                providers=providers,
                gate=gate,
                judge=make_judge(settings, prices.pricer),
                prices=prices,
                worker_id=worker_id,
                life_sign=life_sign,
            )
        return self._kept

    def _watch_parent(self) -> None:
        while os.getppid() == self._parent:
            time.sleep(WATCH_S)
        # The parent is gone and will send nothing more: let a running pump wind up, then go.
        with self._busy:
            os._exit(0)


def life_signs(home: Path) -> Path:
    """The folder in which every living worker of a home holds a lock on a file of its name."""
    return home / "run" / "workers"


def show_life(home: Path, worker_id: str) -> IO[bytes]:
    """Hold a lock for as long as this process lives: the kernel lets it go with the process, however that ends."""
    folder = life_signs(home)
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / worker_id).open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def shows_life(home: Path, worker_id: str) -> bool:
    """Whether the worker of that name still lives on this machine; nothing is changed."""
    try:
        with (life_signs(home) / worker_id).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def is_alive(home: Path, worker_id: str) -> bool:
    """The same for whoever takes over from the dead: what they leave behind is removed."""
    if shows_life(home, worker_id):
        return True
    (life_signs(home) / worker_id).unlink(missing_ok=True)
    return False


_current: Child | None = None


def set_duty(duty: Duty) -> Child:
    """Say what this process and those forked from it are to do."""
    global _current
    _current = Child(duty)
    return _current


def current() -> Child:
    """This process, as far as it is a worker."""
    if _current is None:
        raise RuntimeError("this process was not started by `batchmill worker`")
    return _current
