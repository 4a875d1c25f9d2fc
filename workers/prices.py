"""The prices an installation goes by: those of BATCHMILL_PRICES, then the catalogue's, then the public list's; and what
else of models may change while workers run: their caps, by how much their holds are raised, which may be asked.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from batchmill.budgets.offers import CallOffers
from batchmill.catalogue.entries import ModelEntry
from batchmill.errors import BatchmillError
from batchmill.limits.gate import Gate
from batchmill.limits.model import Limits
from batchmill.money.bounds import Bounds
from batchmill.money.owner_prices import OwnerPrices, read_owner_prices
from batchmill.quotes.forecast import Experiences
from batchmill.requests.model import Endpoint
from batchmill.routing.router import Misfit
from batchmill.routing.upstreams import Upstreams
from batchmill.settings import Settings
from db import catalogue
from db import workers as worker_rows
from db.budgets import factors
from db.engine import Database, Transaction
from db.experience import experiences
from workers.choosing import Choosing
from workers.limits import limits_in_force

log = structlog.get_logger()

LEARN_EVERY_S = 60.0


def file_prices(settings: Settings) -> OwnerPrices:
    """The prices in the file that BATCHMILL_PRICES names; none without one.

    Raises:
        SettingsError: It cannot be read, or is wrong.
    """
    return read_owner_prices(settings.prices_file) if settings.prices_file else {}


def owner_prices(tx: Transaction, from_file: OwnerPrices) -> OwnerPrices:
    """The owner's prices: the file's, which this process was started with, before the catalogue's."""
    return {**catalogue.own_prices(tx), **from_file}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is known of models at one moment.

    Attributes:
        percents: By how much holds are raised, by provider and model; see `db.budgets.factors`.
        limits: How fast calls may leave, by provider and model.
        processes: How many worker processes there are.
    """

    prices: OwnerPrices
    models: Sequence[ModelEntry]
    percents: Mapping[tuple[str, str], int]
    limits: Mapping[tuple[str, str], Limits] = field(default_factory=dict)
    processes: int = 1

    @property
    def caps(self) -> dict[tuple[str, str], int]:
        """The longest answers that models write, in tokens, where the catalogue knows."""
        return {model.key: model.output_cap_tokens for model in self.models if model.output_cap_tokens}


def read_terms(tx: Transaction, from_file: OwnerPrices) -> Terms:
    """The terms now."""
    return Terms(
        prices=owner_prices(tx, from_file),
        models=catalogue.entries(tx),
        percents=factors.percents(tx),
        limits=limits_in_force(tx),
        processes=worker_rows.count(tx),
    )


class FollowedPrices:
    """Keeps a pricer, and the offers made with its prices, at what the database has now; the file is read once.

    It reads all of the catalogue each time, some dozen rows: that costs no more than to ask whether they have changed.
    """

    def __init__(
        self,
        database: Database,
        from_file: OwnerPrices,
        *,
        output_cap_tokens: int,
        upstreams: Upstreams,
        misfit: Misfit,
        endpoints: Mapping[str, Collection[Endpoint]],
        gate: Gate,
    ) -> None:
        self._database = database
        self._from_file = from_file
        self._choosing = Choosing.of(
            from_file,
            upstreams=upstreams,
            misfit=misfit,
            endpoints=endpoints,
            output_cap_tokens=output_cap_tokens,
            now_ms=database.now_ms,
        )
        self.pricer = self._choosing.pricer
        self.outlook = self._choosing.outlook
        self.router = self._choosing.router
        self.offers = CallOffers(Bounds(self.pricer, output_cap_tokens=output_cap_tokens), upstreams)
        self._gate = gate
        self._experienced_at = float("-inf")

    def read(self) -> Terms:
        """The terms now. Raises DatabaseError."""
        with self._database.read() as tx:
            return read_terms(tx, self._from_file)

    @contextlib.asynccontextmanager
    async def followed(self, every_s: float) -> AsyncIterator[None]:
        """Go by the terms as they are now, and look again from time to time while the context lasts."""
        await self._refresh()
        following = asyncio.create_task(self._follow(every_s), name="prices")
        try:
            yield
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    async def _follow(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            await self._refresh()
            await self._learn()

    async def _learn(self) -> None:
        """Go by our newest calls where models are chosen; looked up now and then, as there are many."""
        now = time.monotonic()
        if not self.outlook.is_wanted or now - self._experienced_at < LEARN_EVERY_S:
            return
        self._experienced_at = now
        try:
            self.outlook.set_experiences(await asyncio.to_thread(self._experiences))
        except BatchmillError as error:
            log.warning("experience_not_read", error=error.message)

    def _experiences(self) -> Experiences:
        with self._database.read() as tx:
            return experiences(tx)

    async def _refresh(self) -> None:
        try:
            terms = await asyncio.to_thread(self.read)
        except BatchmillError as error:
            # An answer must not wait for its price: the prices of the last look count until the next.
            log.warning("prices_not_read", error=error.message)
            return
        self._choosing.go_by(terms.prices, terms.models)
        self.offers.set_models(terms.models)
        self._gate.set_limits(terms.limits)
        self._gate.divide(terms.processes)
        self.offers.bounds.set_percents(terms.percents)
        self.offers.bounds.set_caps(terms.caps)
