"""Upstreams: at which address each provider is called. Two servers may know different models by one name, so an address
is part of what a question is known by, and of which worker may take it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from batchmill.providers.names import ProviderName


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
    """The providers of an installation.

    Attributes:
        addresses: By provider: where it is called, of all that have an address.
        usable: Those of them that calls can be made to: there is a key, or none is needed.
    """

    addresses: Mapping[str, str]
    usable: frozenset[str]

    def of(self, provider: str) -> str:
        """How a provider at its address is written; that of OpenAI's API is the address alone."""
        address = self.addresses.get(provider, "")
        return address if provider == ProviderName.OPENAI else f"{provider}={address}"

    def of_all(self, providers: Iterable[str]) -> str:
        """How several are written, in whatever order they are named."""
        return " ".join(self.of(provider) for provider in sorted(set(providers)))

    @property
    def of_usable(self) -> str:
        """How all are written that calls can be made to: whom a request for any model is meant for."""
        return self.of_all(self.usable)

    def served(self) -> list[str]:
        """Whatever a batch may be meant for that can be answered from here: any of the usable ones together."""
        usable = sorted(self.usable)
        return [self.of_all(some) for size in range(len(usable) + 1) for some in combinations(usable, size)]


NOWHERE = Upstreams(addresses={}, usable=frozenset())
"""No provider has an address."""
