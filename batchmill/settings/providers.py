"""The accounts at the providers: keys, addresses, and what else each of them wants to know."""

from enum import StrEnum
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from batchmill.providers.names import ProviderName
from batchmill.settings.fields import (
    ApiKeys,
    Group,
    HttpUrl,
    LowerCase,
    choice,
    setting,
    variables_of,
)
from batchmill.settings.values import LOCAL_HOSTS

_KEYS = "an API key, or several with commas between"
_ADDRESS = "http:// or https:// and a host"


class GeminiVersion(StrEnum):
    """Which version of Gemini's API is spoken."""

    V1BETA = "v1beta"
    V1 = "v1"


class GeminiTransport(StrEnum):
    """What carries the calls to Gemini: batchmill's own client, or one of Google's packages."""

    HTTP = "http"
    GOOGLE_GENAI = "google-genai"
    GOOGLE_GENERATIVEAI = "google-generativeai"


class ProviderSettings(Group):
    """The account at one provider.

    Attributes:
        api_keys: The keys that pay for the calls, in the order given, none twice; empty when none is set.
        base_url: Where the calls go; None when no address is set.
    """

    name: ClassVar[ProviderName]

    api_keys: ApiKeys
    base_url: HttpUrl | None

    @property
    def upstream(self) -> str:
        """Whom a batch is meant for, and a worker calls; "" when no address is set."""
        return self.base_url or ""

    @property
    def needs_key(self) -> bool:
        """Whether nothing is answered there without a key; a server on this machine may do without."""
        return urlsplit(self.upstream).hostname not in LOCAL_HOSTS

    @property
    def missing(self) -> str:
        """The variable without which no call can go there; "" when nothing is missing."""
        if self.base_url is None:
            return _variable(self, "base_url")
        return _variable(self, "api_keys") if self.needs_key and not self.api_keys else ""

    @property
    def is_usable(self) -> bool:
        """Whether calls can go there."""
        return not self.missing


class OpenAISettings(ProviderSettings):
    """The account at OpenAI, or at whoever speaks its API; the variables are those of its SDK."""

    name = ProviderName.OPENAI

    api_keys: ApiKeys = setting((), "OPENAI_API_KEY", meaning="What pays for the calls.", accepts=_KEYS)
    base_url: HttpUrl = setting(
        "https://api.openai.com/v1",
        "OPENAI_BASE_URL",
        meaning="Where the calls go, version included.",
        accepts=_ADDRESS,
        repr=False,
    )
    org_id: str | None = setting(
        None, "OPENAI_ORG_ID", meaning="Organisation to bill, for keys of several.", accepts="an id"
    )
    project_id: str | None = setting(
        None, "OPENAI_PROJECT_ID", meaning="Project to bill, for keys of several.", accepts="an id"
    )


class AnthropicSettings(ProviderSettings):
    """The account at Anthropic; the variables are those of its SDK."""

    name = ProviderName.ANTHROPIC

    api_keys: ApiKeys = setting((), "ANTHROPIC_API_KEY", meaning="What pays for the calls.", accepts=_KEYS)
    base_url: HttpUrl = setting(
        "https://api.anthropic.com",
        "ANTHROPIC_BASE_URL",
        meaning="Where the calls go, without the version.",
        accepts=_ADDRESS,
        repr=False,
    )


class GeminiSettings(ProviderSettings):
    """The account at Google for Gemini; the variables are those of its SDK, where it has them."""

    name = ProviderName.GEMINI

    api_keys: ApiKeys = setting(
        (), "GEMINI_API_KEY", "GOOGLE_API_KEY", meaning="What pays for the calls.", accepts=_KEYS
    )
    base_url: HttpUrl = setting(
        "https://generativelanguage.googleapis.com",
        "GOOGLE_GEMINI_BASE_URL",
        meaning="Where the calls go, without the version.",
        accepts=_ADDRESS,
        repr=False,
    )
    api_version: Annotated[GeminiVersion, LowerCase] = choice(
        GeminiVersion.V1BETA, "BATCHMILL_GEMINI_API_VERSION", "Version of the API."
    )
    transport: Annotated[GeminiTransport, LowerCase] = choice(
        GeminiTransport.HTTP,
        "BATCHMILL_GEMINI_TRANSPORT",
        "What carries the calls: batchmill's own client, or one of Google's packages.",
    )


class OpenRouterSettings(ProviderSettings):
    """The account at OpenRouter."""

    name = ProviderName.OPENROUTER

    api_keys: ApiKeys = setting((), "OPENROUTER_API_KEY", meaning="What pays for the calls.", accepts=_KEYS)
    base_url: HttpUrl = setting(
        "https://openrouter.ai/api/v1",
        "OPENROUTER_BASE_URL",
        meaning="Where the calls go, version included.",
        accepts=_ADDRESS,
        repr=False,
    )


class LocalSettings(ProviderSettings):
    """A server of your own that speaks OpenAI's API: vLLM, Ollama, llama.cpp and others."""

    name = ProviderName.LOCAL

    api_keys: ApiKeys = setting(
        (), "LOCAL_API_KEY", meaning="What the server wants to be told; most want nothing.", accepts=_KEYS
    )
    base_url: HttpUrl | None = setting(
        None,
        "LOCAL_BASE_URL",
        meaning="Where the calls go, version included; there is no local provider without it.",
        accepts=_ADDRESS,
        repr=False,
    )

    @property
    def needs_key(self) -> bool:
        """It never does: the server is the owner's, wherever it stands."""
        return False


def _variable(account: ProviderSettings, field: str) -> str:
    return variables_of(type(account).model_fields[field])[0]
