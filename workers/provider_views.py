"""Providers as they are shown: whether they are there and know our keys, by the last looks at them, and what rests."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from batchmill.limits.owner import OwnerLimits
from batchmill.providers.health import Health
from batchmill.providers.names import ProviderName
from batchmill.routing.resting import Resting, not_closed
from batchmill.settings import Settings
from batchmill.settings.providers import ProviderSettings
from batchmill.settings.values import mask_url
from db import circuits, provider_checks
from db.engine import Database
from workers.views import circuit_view, time_text


class State(StrEnum):
    """How a provider is, in a word."""

    OK = "ok"
    FAILING = "failing"
    NOT_CHECKED = "not_checked"
    NOT_SET_UP = "not_set_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStanding:
    """How a provider is.

    Attributes:
        health: None = nobody has looked yet.
        resting: Its models whose circuits are not closed.
    """

    account: ProviderSettings
    health: Health | None
    resting: Sequence[Resting]

    @property
    def state(self) -> State:
        """The same in a word."""
        if not self.account.is_usable:
            return State.NOT_SET_UP
        if self.health is None:
            return State.NOT_CHECKED
        return State.OK if self.health.last.is_ok else State.FAILING


def provider_standings(
    database: Database, settings: Settings, wanted: Sequence[ProviderName] = tuple(ProviderName)
) -> list[ProviderStanding]:
    """How these providers are, in their order, by what the last looks found; nobody is asked."""
    accounts = [settings.providers[name] for name in wanted]
    upstreams = {account.name.value: account.upstream for account in accounts if account.is_usable}
    with database.read() as tx:
        found = provider_checks.health(tx, upstreams)
        resting = not_closed(circuits.read(tx), tx.now_ms)
    return [
        ProviderStanding(
            account=account,
            health=found.get(account.name.value),
            resting=[one for one in resting if one.target.provider == account.name.value],
        )
        for account in accounts
    ]


def standing_view(standing: ProviderStanding) -> dict[str, Any]:
    """How a provider is, as JSON shows it."""
    account, health = standing.account, standing.health
    return {
        "provider": account.name.value,
        "address": mask_url(account.upstream) or None,
        "state": standing.state.value,
        "missing": account.missing or None,
        "since": health and time_text(health.since_ms),
        "checked_at": health and time_text(health.at_ms),
        "latency_ms": health and health.last.latency_ms,
        "error_code": (health and health.last.error_code) or None,
        "error_message": (health and health.last.error_message) or None,
        "last_ok_at": health and time_text(health.last_ok_ms),
        "circuits": [circuit_view(one) for one in standing.resting],
    }


def account_view(account: ProviderSettings) -> dict[str, Any]:
    """Where calls to a provider go, and with how many keys; the keys themselves are nobody's to see."""
    return {
        "provider": account.name.value,
        "address": mask_url(account.upstream) or None,
        "usable": account.is_usable,
        "missing": account.missing or None,
        "keys": len(account.api_keys),
    }


def limits_view(limits: OwnerLimits) -> dict[str, Any]:
    """Limits as JSON shows them; those that are not set are null."""
    return {
        "provider": limits.provider,
        "model": limits.model,
        "rpm": limits.rpm,
        "tpm": limits.tpm,
        "input_tpm": limits.input_tpm,
        "output_tpm": limits.output_tpm,
        "concurrency": limits.concurrency,
    }
