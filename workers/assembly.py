"""Puts the parts together as the settings say; the only place that knows them all."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from batchmill.cache.keeping import Keeping
from batchmill.cache.ttl import parse_ttls
from batchmill.errors import SettingsError
from batchmill.money.prices import Pricer
from batchmill.providers.base import Provider, Reply
from batchmill.providers.names import ProviderName
from batchmill.request_log import CallLog
from batchmill.requests.judge import Judge, RetryRules
from batchmill.routing.circuits import CircuitRules
from batchmill.settings import Settings
from batchmill.settings.groups import LogRequests
from batchmill.settings.providers import GeminiSettings, GeminiTransport, ProviderSettings
from db import schema
from db.engine import Database
from workers.addresses import missing_key, upstreams_of
from workers.prices import file_prices
from workers.watchers import Watchers

MOST_OPEN = 150
"""A circuit stays open so many times as long as at first, at most."""


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


def require_account(settings: Settings) -> None:
    """Make sure that calls can go to some provider; a server on this machine may do without a key.

    Raises:
        ProviderError: They can go nowhere.
    """
    if not upstreams_of(settings).usable:
        raise missing_key(settings.openai)


def make_provider(settings: Settings, concurrency: int) -> Provider:
    """The provider that calls go to."""
    account = settings.openai
    return _on_openai_wire(
        account, concurrency, organization=account.org_id or "", project=account.project_id or ""
    )


def make_providers(
    settings: Settings, concurrency: int, names: Collection[ProviderName] = tuple(ProviderName)
) -> dict[ProviderName, Provider]:
    """Every provider that calls can go to, by name: those that are usable, and that this version can speak to.

    Args:
        names: Only these of them.
    """
    makers: Mapping[ProviderName, Callable[[], Provider]] = {
        ProviderName.OPENAI: lambda: make_provider(settings, concurrency),
        ProviderName.ANTHROPIC: lambda: _anthropic(settings.anthropic, concurrency),
        ProviderName.GEMINI: lambda: _gemini(settings.gemini, concurrency),
        ProviderName.OPENROUTER: lambda: _openrouter(settings.openrouter, concurrency),
        ProviderName.LOCAL: lambda: _on_openai_wire(settings.local, concurrency),
    }
    usable = {name: make for name, make in makers.items() if settings.providers[name].is_usable}
    return {name: make() for name, make in usable.items() if name in names}


def _anthropic(account: ProviderSettings, concurrency: int) -> Provider:
    from batchmill.providers.anthropic.wire import Anthropic

    return Anthropic(base_url=account.upstream, api_keys=account.api_keys, concurrency=concurrency)


def _gemini(account: GeminiSettings, concurrency: int) -> Provider:
    """Gemini by whichever transport is wanted; the SDKs are imported only then."""
    told: dict[str, Any] = {
        "base_url": account.upstream,
        "api_keys": account.api_keys,
        "concurrency": concurrency,
    }
    match account.transport:
        case GeminiTransport.GOOGLE_GENAI:
            from batchmill.providers.gemini.sdk import GeminiSdk

            return GeminiSdk(**told, api_version=account.api_version.value)
        case GeminiTransport.GOOGLE_GENERATIVEAI:
            from batchmill.providers.gemini.legacy import GeminiLegacy

            return GeminiLegacy(**told)
        case GeminiTransport.HTTP:
            from batchmill.providers.gemini.wire import Gemini

            return Gemini(**told, api_version=account.api_version.value)


def _openrouter(account: ProviderSettings, concurrency: int) -> Provider:
    from batchmill.providers.openrouter import OpenRouter

    return OpenRouter(base_url=account.upstream, api_keys=account.api_keys, concurrency=concurrency)


def _on_openai_wire(
    account: ProviderSettings, concurrency: int, *, organization: str = "", project: str = ""
) -> Provider:
    from batchmill.providers.http import HttpProvider  # brings httptools, which only workers need
    from batchmill.providers.openai import OpenAIWire

    wire = OpenAIWire(
        name=account.name.value,
        base_url=account.upstream,
        api_keys=account.api_keys,
        organization=organization,
        project=project,
    )
    return HttpProvider(wire=wire, concurrency=concurrency)


def circuit_rules(settings: Settings) -> CircuitRules:
    """When models that do not answer are left alone, and for how long."""
    first_ms = int(settings.circuits.open_s * 1000)
    return CircuitRules(
        threshold=settings.circuits.failures, failing_ms=first_ms, failing_most_ms=MOST_OPEN * first_ms
    )


def make_judge(settings: Settings, prices: Pricer | None = None) -> Judge:
    """The rules by which replies become outcomes.

    Args:
        prices: For whoever judges answers; without it, only what nobody will ever answer is judged.

    Raises:
        SettingsError: They cannot be followed.
    """
    make_redaction(settings)  # whoever starts workers is told at once
    calls = settings.calls
    return Judge(
        rules=RetryRules(most_tries=calls.max_tries, base_s=calls.backoff_base_s, cap_s=calls.backoff_cap_s),
        prices=prices or Pricer(file_prices(settings)),
        keeping=Keeping(ttls=parse_ttls(settings.cache.ttl), refusal_ttl_s=settings.cache.refusal_ttl_s),
    )


def make_redaction(settings: Settings) -> Callable[[Reply], Awaitable[Reply]] | None:
    """What takes people's data out of replies before they are kept; None where they are kept as they are.

    Raises:
        SettingsError: It is wanted, and not installed.
    """
    if not settings.privacy.redact_answers:
        return None
    from batchmill.pii.library import patterns
    from batchmill.pii.replies import redact

    patterns()
    return redact


def make_watchers(settings: Settings) -> Watchers | None:
    """Who is told how each call has ended; None where nobody wants to know. Call it after the fork.

    Traces without the extra are warned of, and not sent: OpenTelemetry's variables are often set for a whole machine.
    """
    tracer = None
    if settings.traces.url is not None:
        from batchmill.tracing import make_tracer

        tracer = make_tracer(settings.traces, settings.traces.url)
    log = None if settings.log.requests is LogRequests.OFF else CallLog(settings.log.requests)
    return None if tracer is None and log is None else Watchers(log=log, tracer=tracer)
