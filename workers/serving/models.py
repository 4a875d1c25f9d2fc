"""The models that callers are told of: those of the catalogue, and those shipped, of providers that can be called."""

from dataclasses import dataclass
from functools import cache

from batchmill.catalogue.entries import ModelEntry
from batchmill.catalogue.shipped import read_shipped
from batchmill.errors import NotFoundError
from batchmill.providers.names import ProviderName
from batchmill.routing.names import AUTO
from batchmill.settings import Settings
from db import catalogue
from db.engine import Database
from workers.addresses import upstreams_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that may be asked for.

    Attributes:
        id: As requests name it: those of OpenAI by their bare name, `auto` for whichever fits.
        owner: Its provider; for `auto` us.
    """

    id: str
    owner: str


def models(database: Database, settings: Settings) -> list[Model]:
    """Every model that is told of; others may be asked for all the same, as providers know them."""
    with database.read() as tx:
        own = catalogue.entries(tx)
    usable = upstreams_of(settings).usable
    known = {entry.key for entry in own}
    active = [entry for entry in own if entry.is_active and entry.provider in usable]
    shipped = [entry for entry in _shipped() if entry.provider in usable and entry.key not in known]
    auto = [Model(id=AUTO, owner="batchmill")] if active else []
    return auto + [_model(entry) for entry in (*active, *shipped)]


def model(database: Database, settings: Settings, name: str) -> Model:
    """One of them.

    Args:
        name: With or without the provider, where that is OpenAI.

    Raises:
        NotFoundError: It is none.
    """
    bare = name.removeprefix(f"{ProviderName.OPENAI}/")
    for one in models(database, settings):
        if one.id in (name, bare):
            return one
    raise NotFoundError(f"The model '{name[:100]}' does not exist, or nobody here has told of it")


@cache
def _shipped() -> tuple[ModelEntry, ...]:
    return read_shipped().entries


def _model(entry: ModelEntry) -> Model:
    is_openai = entry.provider == ProviderName.OPENAI
    return Model(id=entry.model if is_openai else entry.name, owner=entry.provider)
