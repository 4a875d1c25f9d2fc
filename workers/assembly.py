"""Puts the parts together as the settings say; the only place that knows them all."""

from pathlib import Path
from urllib.parse import urlsplit

from batchmill.cache.keeping import Keeping
from batchmill.cache.ttl import parse_ttls
from batchmill.errors import ProviderError, SettingsError
from batchmill.money.prices import Pricer
from batchmill.providers.base import Provider
from batchmill.requests.judge import Judge, RetryRules
from batchmill.routing.names import ProviderName
from batchmill.settings import Settings
from batchmill.settings.fields import LOCAL_HOSTS
from db import schema
from db.engine import Database
from workers.prices import file_prices


def make_database(settings: Settings, *, patience_s: float = 60.0) -> Database:
    """The database in force; nothing is opened yet.

    Args:
        patience_s: How long a write that fails is tried again: long for a worker, which has answers in hand.
    """
    return Database(settings.database.url, wait_s=settings.database.wait_s, patience_s=patience_s)


def prepared_database(settings: Settings) -> Database:
    """The database in force, of this code's schema: an embedded one is brought up to date, a shared one is checked.

    Raises:
        DatabaseError: It cannot be reached, or is of another schema.
    """
    database = make_database(settings)
    try:
        prepare(database)
    except BaseException:
        database.close()
        raise
    return database


def has_database(settings: Settings) -> bool:
    """Whether there is a database; of a shared one that is taken for granted."""
    path = settings.database.path
    return path is None or path.exists()


def prepare(database: Database) -> None:
    """Make sure of the schema: an embedded database is brought up to date, a shared one is checked.

    Raises:
        DatabaseError: It cannot be reached, or is of another schema.
    """
    if database.dialect == "sqlite":
        schema.upgrade(database)
    else:
        schema.check(database)


def seen_database(settings: Settings) -> Database | None:
    """The database in force for those who only look: None while there is no embedded one, and none is made.

    Raises:
        DatabaseError: It cannot be reached, or is of another schema.
    """
    return prepared_database(settings) if has_database(settings) else None


def existing_database(settings: Settings) -> Database:
    """The same for those who add up: while there is no embedded one, an empty one in memory.

    Raises:
        DatabaseError: It cannot be reached, or is of another schema.
    """
    return seen_database(settings) or schema.nowhere()


def make_home(home: Path) -> None:
    """Make the folder of the embedded parts.

    Raises:
        SettingsError: It cannot be made.
    """
    try:
        (home / "run").mkdir(parents=True, exist_ok=True)
        (home / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f'the home "{home}" cannot be used: {error.strerror}',
            "name a folder that you may write to, with --home or BATCHMILL_HOME",
        ) from error


def require_key(settings: Settings) -> None:
    """Make sure that there is a key for the provider; a server on this machine may do without.

    Raises:
        ProviderError: There is none.
    """
    host = urlsplit(settings.openai.base_url).hostname
    if settings.openai.api_key is None and host not in LOCAL_HOSTS:
        raise ProviderError(
            f"there is no key for {settings.openai.base_url}: OPENAI_API_KEY is not set",
            "set it in the environment or in a .env file (to any word, for a server of yours that wants none);"
            " or try `batchmill sandbox`, which needs none",
        )


def make_provider(settings: Settings, concurrency: int) -> Provider:
    """The provider that calls go to."""
    from batchmill.providers.openai import OpenAICompatible  # brings httptools, which only workers need

    key = settings.openai.api_key
    return OpenAICompatible(
        name=ProviderName.OPENAI,
        base_url=settings.openai.base_url,
        api_key=key if key is not None else "",
        organization=settings.openai.org_id or "",
        project=settings.openai.project_id or "",
        concurrency=concurrency,
    )


def make_providers(settings: Settings, concurrency: int) -> dict[str, Provider]:
    return {ProviderName.OPENAI: make_provider(settings, concurrency)}


def make_judge(settings: Settings, prices: Pricer | None = None) -> Judge:
    """The rules by which replies become outcomes.

    Args:
        prices: For whoever judges answers; without it, only what nobody will ever answer is judged.
    """
    calls = settings.calls
    return Judge(
        rules=RetryRules(most_tries=calls.max_tries, base_s=calls.backoff_base_s, cap_s=calls.backoff_cap_s),
        prices=prices or Pricer(file_prices(settings)),
        keeping=Keeping(ttls=parse_ttls(settings.cache.ttl), refusal_ttl_s=settings.cache.refusal_ttl_s),
    )
