"""The catalogue as it counts: entries with the prices in force."""

from collections.abc import Sequence

from batchmill.catalogue.entries import ModelEntry
from batchmill.catalogue.in_force import price_in_force
from batchmill.catalogue.views import Shown
from batchmill.money.prices import Pricer
from batchmill.settings import Settings
from db.engine import Transaction
from workers.prices import file_prices, owner_prices


def shown(tx: Transaction, settings: Settings, entries: Sequence[ModelEntry]) -> list[Shown]:
    """Entries with the prices that count.

    Raises:
        SettingsError: The file of prices is wrong.
    """
    from_file = file_prices(settings)
    pricer = Pricer(owner_prices(tx, from_file))
    return [Shown(entry, price_in_force(entry, from_file, pricer)) for entry in entries]
