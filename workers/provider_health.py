"""The health of providers: looked at without cost, all at once, and written down."""

import asyncio
from collections.abc import Mapping, Sequence

from batchmill.providers.base import Probe, Provider
from batchmill.providers.health import Check
from batchmill.providers.names import ProviderName
from batchmill.settings import Settings
from batchmill.settings.providers import ProviderSettings
from db import provider_checks
from db.engine import Database, Transaction
from workers.assembly import make_providers

TIMEOUT_S = 10.0
_AT_ONCE = 16
_LONGEST_MESSAGE = 2_000


def check_providers(
    settings: Settings,
    database: Database,
    names: frozenset[ProviderName] = frozenset(ProviderName),
    *,
    timeout_s: float = TIMEOUT_S,
) -> dict[ProviderName, Check]:
    """Look once at every usable one of these providers with each of its keys, and write down what was found.

    All are looked at at once. A provider is well when it knows all of its keys.

    Those that are not usable, or that this version cannot speak to, are left out. Must not be called from within a
    running event loop.

    Args:
        timeout_s: Bounds the whole.

    Raises:
        DatabaseError: What was found cannot be written down.
        SettingsError: An address or a key cannot be used.
    """
    providers = make_providers(settings, concurrency=_AT_ONCE, names=names)
    checks = asyncio.run(_probe(settings, providers, timeout_s))

    def write_down(tx: Transaction) -> None:
        for check in checks.values():
            provider_checks.record(tx, check)

    if checks:
        database.persist(write_down)
    return checks


async def _probe(
    settings: Settings, providers: Mapping[ProviderName, Provider], timeout_s: float
) -> dict[ProviderName, Check]:
    found = await asyncio.gather(
        *(_check(settings.providers[name], provider, timeout_s) for name, provider in providers.items())
    )
    return dict(zip(providers, found, strict=True))


async def _check(account: ProviderSettings, provider: Provider, timeout_s: float) -> Check:
    keys = max(1, len(account.api_keys))
    try:
        probes = await asyncio.gather(
            *(provider.probe(account=key, timeout_s=timeout_s) for key in range(keys))
        )
    finally:
        await provider.close()
    return Check(
        provider=account.name.value,
        upstream=account.upstream,
        latency_ms=max(probe.latency_ms for probe in probes),
        error_code=next((probe.error_code for probe in probes if probe.error_code), ""),
        error_message=_told(probes),
    )


def _told(probes: Sequence[Probe]) -> str:
    """What is wrong; of several keys with which, by its place among them, unless it is the same with all."""
    failed = {number: probe for number, probe in enumerate(probes, 1) if probe.error_code}
    messages = {probe.error_message for probe in failed.values()}
    if len(failed) == len(probes) and len(messages) == 1:
        return messages.pop()
    told = (f"key {number} of {len(probes)}: {probe.error_message}" for number, probe in failed.items())
    return "; ".join(told)[:_LONGEST_MESSAGE]
