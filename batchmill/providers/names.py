"""The providers there are."""

from enum import StrEnum


class ProviderName(StrEnum):
    """Whom calls can go to, as settings, tables and commands name them."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    OPENROUTER = "openrouter"
    LOCAL = "local"
