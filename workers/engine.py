"""The engine of a process that makes calls, a worker's or the service's: all that is kept from one task to the next.

It is made in the process that uses it and kept for its life: one database connection that writes, one session to each
provider, one gate before them, one fresh UUID.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

import structlog

from batchmill.budgets.aside import SetAside
from batchmill.errors import BatchmillError
from batchmill.limits.gate import Gate
from batchmill.logs import name_worker
from batchmill.metering.meter import Meter
from batchmill.pipeline import Journal as JournalLike
from batchmill.pipeline import Pipeline
from batchmill.providers.base import Provider, Reply
from batchmill.requests.judge import Judge
from batchmill.settings import Settings
from db import workers as worker_rows
from db.engine import Database
from db.journal import Journal
from workers.addresses import ENDPOINTS, misfit_of, upstreams_of
from workers.assembly import (
    circuit_rules,
    make_database,
    make_judge,
    make_providers,
    make_redaction,
    make_watchers,
)
from workers.budgets import define_environment_budgets
from workers.life import life_signs, show_life
from workers.limits import make_gate
from workers.prices import FollowedPrices, file_prices
from workers.watchers import Watchers

if TYPE_CHECKING:
    from workers.meters.recorder import Recorder

log = structlog.get_logger()

RECORD_EVERY_S = 1.0


@dataclass(slots=True, kw_only=True)
class Engine:
    """What a process that makes calls keeps.

    Attributes:
        life_sign: Held for as long as the process lives.
        redact: Takes what is somebody's out of replies before they are kept; None = they are kept as they are.
        watchers: Who is told how each call has ended; None = nobody.
        meter: Counts what happens to calls.
        recorder: Writes down what it has counted; None = nobody reads that.
    """

    settings: Settings
    database: Database
    providers: Mapping[str, Provider]
    gate: Gate
    judge: Judge
    prices: FollowedPrices
    worker_id: str
    life_sign: IO[bytes]
    redact: Callable[[Reply], Awaitable[Reply]] | None = None
    meter: Meter
    recorder: "Recorder | None" = None
    watchers: Watchers | None = None
    aside: SetAside = field(default_factory=SetAside)

    @property
    def renew_every_s(self) -> float:
        """How often leases are prolonged."""
        return self.settings.workers.lease_s / 3

    @contextlib.asynccontextmanager
    async def journal(self, *, runs_too: bool = True) -> AsyncIterator[Journal]:
        """A journal that is written while the context lasts, with prices and limits kept as they are now.

        Args:
            runs_too: Whether batches of `batchmill run`, which bring a worker of their own, may be claimed from.
        """
        settings = self.settings
        journal = Journal(
            self.database,
            self.worker_id,
            lease_ms=int(settings.workers.lease_s * 1000),
            upstreams=upstreams_of(settings).served(),
            runs_too=runs_too,
            call_timeout_s=settings.calls.timeout_s,
            rules=circuit_rules(settings),
            meter=self.meter,
        )
        self.prices.outlook.open_circuits = journal.open_circuits
        async with journal.open(), self.prices.followed(every_s=self.renew_every_s):
            beside = [
                asyncio.create_task(self.gate.renew_on(), name="limits"),
                asyncio.create_task(self._record_on(), name="meters"),
            ]
            try:
                yield journal
            finally:
                for task in beside:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
                self._record()

    def pipeline(self, journal: JournalLike) -> Pipeline:
        """A pipeline that writes into this journal."""
        return Pipeline(
            journal=journal,
            providers=self.providers,
            limits=self.gate,
            routes=self.prices.router,
            offers=self.prices.offers,
            judge=self.judge,
            call_timeout_s=self.settings.calls.timeout_s,
            now_ms=self.database.now_ms,
            output_cap_tokens=self.settings.budgets.output_cap_tokens,
            aside=self.aside,
            redact=self.redact,
            watch=None if self.watchers is None else self.watchers.tell,
            meter=self.meter,
        )

    async def _record_on(self) -> None:
        while True:
            self._record()
            await asyncio.sleep(RECORD_EVERY_S)

    def _record(self) -> None:
        if self.recorder is not None:
            try:
                self.recorder.record(self.meter.tally)
            except OSError as error:
                log.warning("metrics_not_written", error=str(error))

    async def stop(self) -> None:
        """Close what belongs to the event loop."""
        await self.gate.close()
        for provider in self.providers.values():
            await provider.close()
        if self.watchers is not None:
            await asyncio.to_thread(self.watchers.close)

    def leave(self) -> None:
        """Strike the worker off the list, unless it still holds something, and close the database."""
        with contextlib.suppress(BatchmillError), self.database.write() as tx:
            if not worker_rows.claims_of(tx, [self.worker_id]):
                worker_rows.leave(tx, self.worker_id)
        self.database.close()
        (life_signs(self.settings.home) / self.worker_id).unlink(missing_ok=True)
        self.life_sign.close()


def make_engine(
    settings: Settings, *, concurrency: int, kind: str = "", recorder: "Recorder | None" = None
) -> Engine:
    """The engine as the settings say, entered as a worker under a fresh name.

    Args:
        concurrency: Most calls in flight in this process.
        kind: What its name begins with (`db.workers`).
        recorder: Writes down what it counts; None = nobody reads that.

    Raises:
        BatchmillError: The database cannot be used, or a setting.
    """
    database = make_database(settings)
    worker_id = worker_rows.new_id(kind)
    name_worker(worker_id)
    life_sign = show_life(settings.home, worker_id)
    with database.write() as tx:
        worker_rows.register(tx, worker_id, str(settings.home))
    define_environment_budgets(database, settings)
    meter = Meter()
    gate = make_gate(settings, concurrency=concurrency, meter=meter)
    made = make_providers(settings, concurrency)
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
    return Engine(
        settings=settings,
        database=database,
        providers=providers,
        gate=gate,
        judge=make_judge(settings, prices.pricer),
        prices=prices,
        worker_id=worker_id,
        life_sign=life_sign,
        redact=make_redaction(settings),
        watchers=make_watchers(settings),
        meter=meter,
        recorder=recorder,
    )
