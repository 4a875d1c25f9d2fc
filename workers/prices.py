"""The prices an installation goes by: those of BATCHMILL_PRICES, then the catalogue's, then the public list's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from batchmill.errors import BatchmillError
from batchmill.money.owner_prices import OwnerPrices, read_owner_prices
from batchmill.money.prices import Pricer
from batchmill.settings import Settings
from db import catalogue
from db.engine import Database, Transaction

log = structlog.get_logger()


def file_prices(settings: Settings) -> OwnerPrices:
    """The prices in the file that BATCHMILL_PRICES names; none without one.

    Raises:
        SettingsError: It cannot be read, or is wrong.
    """
    return read_owner_prices(settings.prices_file) if settings.prices_file else {}


def owner_prices(tx: Transaction, from_file: OwnerPrices) -> OwnerPrices:
    """The owner's prices: the file's, which this process was started with, before the catalogue's."""
    return {**catalogue.own_prices(tx), **from_file}


class FollowedPrices:
    """Keeps a pricer at the catalogue's prices as they are now; the file is read once.

    It reads all of the catalogue's own prices each time, seldom more than a few rows: that costs no more than
    to ask whether they have changed.
    """

    def __init__(self, database: Database, from_file: OwnerPrices) -> None:
        self._database = database
        self._from_file = from_file
        self.pricer = Pricer(from_file)

    def read(self) -> OwnerPrices:
        """The owner's prices now. Raises DatabaseError."""
        with self._database.read() as tx:
            return owner_prices(tx, self._from_file)

    @contextlib.asynccontextmanager
    async def followed(self, every_s: float) -> AsyncIterator[None]:
        """Go by the prices as they are now, and look again from time to time while the context lasts."""
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

    async def _refresh(self) -> None:
        try:
            self.pricer.set_owner_prices(await asyncio.to_thread(self.read))
        except BatchmillError as error:
            # An answer must not wait for its price: the prices of the last look count until the next.
            log.warning("prices_not_read", error=error.message)
