"""The health of providers: looked at without cost, all at once, and written down."""

import asyncio
from collections.abc import Mapping

from batchmill.providers.base import Provider
from batchmill.providers.health import Check
from batchmill.providers.names import ProviderName
from batchmill.settings import Settings
from db import provider_checks
from db.engine import Database, Transaction
from workers.assembly import make_providers

TIMEOUT_S = 10.0


def check_providers(
    settings: Settings,
    database: Database,
    names: frozenset[ProviderName] = frozenset(ProviderName),
    *,
    timeout_s: float = TIMEOUT_S,
) -> dict[ProviderName, Check]:
    """Look once at every usable one of these providers, all at once, and write down what was found.

    Those that are not usable, or that this version cannot speak to, are left out. Must not be called from within a
    running event loop.

    Args:
        timeout_s: Bounds the whole.

    Raises:
        DatabaseError: What was found cannot be written down.
        SettingsError: An address or a key cannot be used.
    """
    providers = make_providers(settings, concurrency=1)
    wanted = {name: provider for name, provider in providers.items() if name in names}
    checks = asyncio.run(_probe(settings, wanted, timeout_s))

    def write_down(tx: Transaction) -> None:
        for check in checks.values():
            provider_checks.record(tx, check)

    if checks:
        database.persist(write_down)
    return checks


async def _probe(
    settings: Settings, providers: Mapping[ProviderName, Provider], timeout_s: float
) -> dict[ProviderName, Check]:
    upstreams = {name: settings.providers[name].upstream for name in providers}
    found = await asyncio.gather(
        *(_check(name, upstreams[name], provider, timeout_s) for name, provider in providers.items())
    )
    return dict(zip(providers, found, strict=True))


async def _check(name: ProviderName, upstream: str, provider: Provider, timeout_s: float) -> Check:
    try:
        probe = await provider.probe(timeout_s=timeout_s)
    finally:
        await provider.close()
    return Check(
        provider=name.value,
        upstream=upstream,
        latency_ms=probe.latency_ms,
        error_code=probe.error_code,
        error_message=probe.error_message,
    )
