"""An entry of the catalogue: one model of one provider."""

import re
from dataclasses import dataclass
from enum import StrEnum

from batchmill.catalogue.prices import ModelPrices
from batchmill.errors import MisuseError
from batchmill.routing.names import MOST_FALLBACKS, Target

LONGEST_NAME = 200
LONGEST_NOTES = 2_000
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9._-]*")
_NAMED = "write PROVIDER/MODEL, openai/gpt-6-luna for instance; the model itself may hold slashes"


class Tier(StrEnum):
    """How good, and how dear, a model is among all of them."""

    CHEAP = "cheap"
    NORMAL = "normal"
    PREMIUM = "premium"


class Capability(StrEnum):
    """What a model takes or does."""

    TEXT = "text"
    """Answers in text."""
    VISION = "vision"
    """Takes pictures."""
    AUDIO = "audio"
    """Takes sound."""
    PDF = "pdf"
    """Takes PDF files."""
    TOOLS = "tools"
    """Calls functions."""
    JSON = "json"
    """Answers in JSON when told to (`json_object`)."""
    JSON_SCHEMA = "json_schema"
    """Answers in JSON of a given schema."""
    REASONING = "reasoning"
    """Thinks before it answers."""
    EMBEDDINGS = "embeddings"
    """Turns text into vectors."""
    BATCH = "batch"
    """Is served by its provider's own batch API too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One model of one provider, as the owner has it.

    Attributes:
        provider: Lower case: openai, anthropic, gemini, openrouter, local, or any other.
        model: Exactly as requests name it; it may hold slashes.
        prices: The owner's own; None when the public list's count.
        quality: From 0 to 1, somebody's estimate; None when nobody has made one.
        latency_ms: Typically, from the call to the whole answer; None when not known.
        context_tokens: Most tokens of a request and its answer together; None when not known.
        output_cap_tokens: Most tokens of an answer; None when not known.
        is_active: Whether it may be chosen. Its price counts either way.
        is_default: Whether it stands for its tier; one entry of a tier at most, over all providers.
        fallback: Whom to ask, in this order, when it does not answer and the request names nobody.
    """

    provider: str
    model: str
    tier: Tier
    prices: ModelPrices | None = None
    quality: float | None = None
    latency_ms: int | None = None
    context_tokens: int | None = None
    output_cap_tokens: int | None = None
    capabilities: frozenset[Capability] = frozenset({Capability.TEXT})
    is_active: bool = True
    is_default: bool = False
    notes: str = ""
    fallback: tuple[Target, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            MisuseError: Naming the entry and what is wrong with it.
        """
        check_name(self.provider, self.model)
        if not self.capabilities:
            raise MisuseError(f"{self.name} can do nothing", f"capabilities are: {', '.join(Capability)}")
        if self.quality is not None and not 0 <= self.quality <= 1:
            raise MisuseError(f"{self.name}: a quality of {self.quality} is not from 0 to 1")
        for what in ("latency_ms", "context_tokens", "output_cap_tokens"):
            value = getattr(self, what)
            if value is not None and value < 1:
                raise MisuseError(f"{self.name}: {what} is {value}; it must be 1 or more")
        if self.is_default and not self.is_active:
            raise MisuseError(f"{self.name} is disabled, so it cannot be the default of {self.tier}")
        if len(self.notes) > LONGEST_NOTES or not self.notes.replace("\n", "").isprintable():
            raise MisuseError(f"{self.name}: notes are at most {LONGEST_NOTES:,} printable characters")
        self._check_fallback()

    @property
    def key(self) -> tuple[str, str]:
        """Provider and model, by which prices are looked up too."""
        return self.provider, self.model

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        return f"{self.provider}/{self.model}"

    def _check_fallback(self) -> None:
        names = [target.name for target in self.fallback]
        if len(names) > MOST_FALLBACKS:
            raise MisuseError(f"{self.name} has {len(names)} fallbacks; {MOST_FALLBACKS} are allowed at most")
        if self.name in names:
            raise MisuseError(f"{self.name} cannot stand by for itself", "name another model as its fallback")
        if len(set(names)) < len(names):
            raise MisuseError(f"{self.name}: a fallback is named twice", "name each of them once")
        for target in self.fallback:
            check_name(target.provider, target.model)
            if "," in target.model:
                raise MisuseError(f"{self.name}: {target.name!a} has a comma, and cannot be a fallback")


def parse_name(text: str) -> tuple[str, str]:
    """Return provider and model of "provider/model"; the provider is what stands before the first slash.

    Raises:
        MisuseError: When it is not of that form.
    """
    provider, slash, model = text.partition("/")
    if not slash:
        raise MisuseError(f"{text[:LONGEST_NAME]!a} is not PROVIDER/MODEL", _NAMED)
    check_name(provider, model)
    return provider, model


def check_name(provider: str, model: str) -> None:
    """Make sure that provider and model can be names at all.

    Raises:
        MisuseError: When one of them cannot.
    """
    shown = f"{provider}/{model}"[: 2 * LONGEST_NAME]
    if not _PROVIDER.fullmatch(provider) or len(provider) > LONGEST_NAME:
        raise MisuseError(
            f"{provider[:LONGEST_NAME]!a} in {shown!a} is no provider's name",
            "providers are lower case letters, digits, dots, dashes: openai, anthropic, gemini, openrouter, local, ...",
        )
    if not model or len(model) > LONGEST_NAME or not model.isprintable() or " " in model:
        raise MisuseError(f"{shown!a} names no model", _NAMED)
