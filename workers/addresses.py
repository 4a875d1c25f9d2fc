"""Addresses: where the providers of an installation are called, and how its input is addressed to them."""

from collections.abc import Collection, Mapping

from batchmill.errors import ProviderError
from batchmill.providers.base import Call, Provider
from batchmill.requests.model import Endpoint
from batchmill.routing.addressing import Addressing
from batchmill.routing.names import Target
from batchmill.routing.router import Misfit
from batchmill.routing.upstreams import Upstreams
from batchmill.settings import Settings


def upstreams_of(settings: Settings) -> Upstreams:
    """Where each provider is called, and which of them can be."""
    return Upstreams(addresses={"openai": settings.openai.base_url}, usable=frozenset({"openai"}))


ENDPOINTS: Mapping[str, Collection[Endpoint]] = {
    "anthropic": (Endpoint.CHAT,),
    "gemini": (Endpoint.CHAT, Endpoint.EMBEDDINGS),
}
"""What providers serve that do not serve all of them."""


def misfit_of(providers: Mapping[str, Provider]) -> Misfit:
    """Tells what these providers cannot be asked for."""

    def misfit(target: Target, endpoint: Endpoint, body: bytes) -> str | None:
        call = Call(endpoint=endpoint, model=target.model, body=body, client_request_id="", timeout_s=1.0)
        fault = providers[target.provider].fault(call)
        return None if fault is None else str(fault)

    return misfit


def addressing_of(settings: Settings, *, calls_here: bool = False) -> Addressing:
    """How lines find whom they are for.

    Args:
        calls_here: The calls are made by this very command, so that it needs the keys.
    """
    unusable: Mapping[str, ProviderError] = {}
    return Addressing(unusable=unusable)
