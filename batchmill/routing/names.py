"""Names of models as requests write them, and whom they mean."""

from typing import NamedTuple

from batchmill.errors import MisuseError
from batchmill.providers.names import ProviderName

AUTO = "auto"
"""The model of a request that leaves the choice to us."""

MOST_FALLBACKS = 5
"""So many may be named for a request, or for a model of the catalogue."""

PROVIDERS = frozenset(ProviderName)


class Target(NamedTuple):
    """A model of a provider, which a call may go to. A tuple, as it is looked up by for every call.

    Attributes:
        provider: "" only where the choice is left to us.
        model: As the provider knows it; it may hold slashes.
    """

    provider: str
    model: str

    @property
    def key(self) -> tuple[str, str]:
        """Provider and model, as the catalogue and prices are looked up."""
        return self.provider, self.model

    @property
    def name(self) -> str:
        """As it is written: `anthropic/claude-sonnet-5-5`, or `auto`."""
        return f"{self.provider}/{self.model}" if self.provider else self.model

    @property
    def is_auto(self) -> bool:
        """Whether it names no model, and the choice is ours."""
        return not self.provider


AUTO_TARGET = Target(provider="", model=AUTO)


def parse_target(text: str, *, default_provider: str) -> Target:
    """Return whom a model's name means: PROVIDER/MODEL of a known provider, else a model of the default one.

    Only `auto` as a whole leaves the choice to us: `openai/auto` is a model of that name. A model whose own name begins
    with that of a provider has to be written in full: `local/openai/gpt-oss-20b`.

    Raises:
        MisuseError: When no model is named.
    """
    if text == AUTO:
        return AUTO_TARGET
    provider, slash, model = text.partition("/")
    if not slash or provider not in PROVIDERS:
        provider, model = default_provider, text
    if not model:
        shown = f"{text[:80]!a} names no model"
        raise MisuseError(shown, "write MODEL, PROVIDER/MODEL (openai/gpt-6-luna for instance) or auto")
    return Target(provider=provider, model=model)
