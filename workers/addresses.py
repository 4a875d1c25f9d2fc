"""Addresses: where the providers of an installation are called, and how its input is addressed to them."""

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

import orjson

from batchmill.errors import ProviderError
from batchmill.providers.base import Call, Provider
from batchmill.providers.names import ProviderName
from batchmill.providers.wire import UntranslatableError, Wire
from batchmill.requests.model import Endpoint
from batchmill.routing.addressing import Addressing, Check
from batchmill.routing.names import Target
from batchmill.routing.router import Misfit
from batchmill.routing.upstreams import Upstreams
from batchmill.settings import Settings
from batchmill.settings.providers import ProviderSettings


def upstreams_of(settings: Settings) -> Upstreams:
    """Where each provider is called, and which of them can be."""
    return Upstreams(
        addresses={
            name: account.upstream for name, account in settings.providers.items() if account.upstream
        },
        usable=frozenset(name for name, account in settings.providers.items() if account.is_usable),
    )


ENDPOINTS: Mapping[str, Collection[Endpoint]] = {
    "anthropic": (Endpoint.CHAT,),
    "gemini": (Endpoint.CHAT, Endpoint.EMBEDDINGS),
}
"""What providers serve that do not serve all of them."""


def misfit_of(providers: Mapping[str, Provider]) -> Misfit:
    """Tells what these providers cannot be asked for."""

    def misfit(target: Target, endpoint: Endpoint, body: bytes) -> str | None:
        if target.provider not in providers:
            return f"this version of batchmill cannot speak to {target.provider}"
        call = Call(endpoint=endpoint, model=target.model, body=body, client_request_id="", timeout_s=1.0)
        fault = providers[target.provider].fault(call)
        return None if fault is None else str(fault)

    return misfit


def addressing_of(settings: Settings, *, calls_here: bool = False) -> Addressing:
    """How lines find whom they are for.

    Args:
        calls_here: The calls are made by this very command, so that it needs the keys.
    """
    accounts = settings.providers
    unusable: dict[str, ProviderError] = {
        name: missing_key(account)
        for name, account in accounts.items()
        if (account.missing if calls_here else not account.upstream)
    }
    return Addressing(checks=_checks(), unusable=unusable)


def missing_key(account: ProviderSettings) -> ProviderError:
    """What to tell whoever would call a provider that cannot be called."""
    if not account.upstream:
        return ProviderError(
            f"the provider {account.name} has no address: {account.missing} is not set",
            f"set {account.missing} to where your server is called, http://127.0.0.1:8000/v1 for instance",
        )
    return ProviderError(
        f"there is no key for {account.upstream}: {account.missing} is not set",
        "set it in the environment, in the file BATCHMILL_SECRETS or in a .env file (to any word, for a server of"
        " yours that wants none); or try `batchmill sandbox`, which needs none",
    )


def _checks() -> dict[str, Check]:
    """What the providers cannot be asked that speak another language than OpenAI's."""
    return {ProviderName.ANTHROPIC: _check(_anthropic), ProviderName.GEMINI: _check(_gemini)}


def _anthropic() -> Wire:
    from batchmill.providers.anthropic.wire import (
        AnthropicWire,  # some milliseconds, which most inputs need not pay
    )

    return AnthropicWire()


def _gemini() -> Wire:
    from batchmill.providers.gemini.wire import GeminiWire

    return GeminiWire()


def _check(make_wire: Callable[[], Wire]) -> Check:
    """A check that writes what would be sent; the wire is made when it is needed first."""
    wire = cache(make_wire)

    def check(endpoint: Endpoint, model: str, body: Mapping[str, Any]) -> tuple[str, str] | None:
        call = Call(
            endpoint=endpoint, model=model, body=orjson.dumps(body), client_request_id="", timeout_s=1.0
        )
        try:
            wire().write(call)
        except UntranslatableError as error:
            return error.param, str(error)
        return None

    return check
