"""The service: what every one of its faces works with."""

import os
from dataclasses import dataclass

from batchmill.files.store import Store
from batchmill.settings import Settings
from db.engine import Database
from workers.assembly import make_home, prepared_database
from workers.serving.audience import Audience
from workers.serving.batch_object import batch_object
from workers.serving.key_secret import keys_secret
from workers.serving.keys import Keyring


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One process's share of the service.

    Attributes:
        audience: Those who watch batches in this process.
        is_keyless: Whoever calls without a valid key is taken for this machine's user.
    """

    settings: Settings
    database: Database
    store: Store
    keyring: Keyring
    audience: Audience
    is_keyless: bool

    @property
    def posts_to_private(self) -> bool:
        """Whether webhooks may go to addresses inside: who names one could call it himself, or the owner says so."""
        return self.is_keyless or self.settings.webhook.to_private

    def environ(self) -> dict[str, str]:
        """The environment of a command that is to see what this service sees; it holds secrets in the clear."""
        return os.environ | self.settings.to_environ()

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()


def make_service(settings: Settings, *, wants_keys: bool = False) -> Service:
    """The service as the settings say.

    Args:
        wants_keys: Ask for keys also where none are needed.

    Raises:
        BatchmillError: The database cannot be used, or a setting.
    """
    make_home(settings.home)
    store = Store(settings.service.store_url(settings.home))
    database = prepared_database(settings)
    try:
        keyring = Keyring(database, keys_secret(settings))
    except BaseException:
        database.close()
        raise
    is_embedded = settings.database.is_embedded and settings.broker.is_embedded
    return Service(
        settings=settings,
        database=database,
        store=store,
        keyring=keyring,
        audience=Audience(database, batch_object),
        is_keyless=is_embedded and settings.service.is_local and not wants_keys,
    )
