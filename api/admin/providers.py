"""`/admin/providers`: the catalogue with its prices, the accounts, the limits, and how the providers are."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.admin.fields import Words
from api.auth import Serving
from batchmill.catalogue.entries import Capability, Tier
from batchmill.catalogue.in_force import PriceSource
from batchmill.catalogue.views import view
from batchmill.providers.names import ProviderName
from batchmill.routing.circuits import CircuitState
from db import catalogue, limits
from workers.catalogue import shown
from workers.provider_health import check_providers
from workers.provider_views import State, account_view, limits_view, provider_standings, standing_view

router = APIRouter(prefix="/admin/providers")


class Price(BaseModel):
    """The price that counts, and whose it is; dollars per million tokens, and per request."""

    source: PriceSource
    input_usd_per_mtok: str | None
    cached_input_usd_per_mtok: str | None
    output_usd_per_mtok: str | None
    usd_per_request: str | None
    up_to_input_tokens: int | None
    reason: str | None


class CatalogueModel(BaseModel):
    """A model of the catalogue."""

    name: str
    provider: str
    model: str
    tier: Tier
    active: bool
    default: bool
    price: Price
    quality: float | None
    latency_ms: int | None
    context_tokens: int | None
    output_cap_tokens: int | None
    capabilities: list[Capability]
    fallback: list[str]
    notes: str


class Account(BaseModel):
    """Where calls to a provider go; `keys` is how many there are."""

    provider: ProviderName
    address: str | None
    usable: bool
    missing: str | None
    keys: int


class Providers(BaseModel):
    """The catalogue and the accounts."""

    models: list[CatalogueModel]
    accounts: list[Account]


class Circuit(BaseModel):
    """A model that is left alone for not answering."""

    provider: str
    model: str
    circuit: CircuitState
    due: bool
    since: str | None
    until: str | None
    cause: str | None
    reason: str | None
    times: int


class ProviderHealth(BaseModel):
    """How a provider is, by the last look at it."""

    provider: ProviderName
    address: str | None
    state: State
    missing: str | None
    since: str | None
    checked_at: str | None
    latency_ms: int | None
    error_code: str | None
    error_message: str | None
    last_ok_at: str | None
    circuits: list[Circuit]


class Limits(BaseModel):
    """What may go out a minute, and at once; "" as the model is all of the provider."""

    provider: str
    model: str
    rpm: int | None
    tpm: int | None
    input_tpm: int | None
    output_tpm: int | None
    concurrency: int | None


@router.get("", response_model=Providers, summary="List providers and models")
def list_providers(
    service: Serving,
    provider: Words | None = None,
    tier: Tier | None = None,
    active: Annotated[bool, Query(description="Without models disabled.")] = False,
) -> dict[str, Any]:
    """The models, as `batchmill providers list` tells them, and the accounts that calls go by."""
    with service.database.read() as tx:
        entries = catalogue.entries(tx, provider=provider, tier=tier, active_only=active)
        models = shown(tx, service.settings, entries)
    accounts = [service.settings.providers[name] for name in ProviderName if provider in (None, name.value)]
    return {
        "models": [view(model) for model in models],
        "accounts": [account_view(account) for account in accounts],
    }


@router.get("/health", response_model=list[ProviderHealth], summary="Health of providers")
def provider_health(service: Serving) -> list[dict[str, Any]]:
    """How the providers are, by what the last looks found; nobody is asked."""
    return [standing_view(one) for one in provider_standings(service.database, service.settings)]


@router.post("/health", response_model=list[ProviderHealth], summary="Look at providers")
def look_at_providers(service: Serving) -> list[dict[str, Any]]:
    """Ask every provider that has a key for what costs nothing, and tell how they are; ten seconds at most."""
    check_providers(service.settings, service.database)
    return provider_health(service)


@router.get("/limits", response_model=list[Limits], summary="List limits")
def list_limits(
    service: Serving, provider: ProviderName | None = None, model: Words | None = None
) -> list[dict[str, Any]]:
    """The limits that are set, as `batchmill providers limit` tells them."""
    with service.database.read() as tx:
        found = limits.entries(tx, provider=provider.value if provider else None, model=model)
    return [limits_view(one) for one in found]
