"""What a model's name tells: its address, whether it fetches URLs, how it is told to think.

The numbers and levels are those of Google's own OpenAI endpoint (ai.google.dev/gemini-api/docs/openai).
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from batchmill.providers.wire import UntranslatableError

_VERSION: Final = re.compile(r"gemini-(\d{1,3})(?:\.(\d{1,3}))?(?![\d.])")
_LATEST: Final = re.compile(r"gemini-[a-z-]*latest")

BUDGETS_TOKENS: Final[Mapping[str, int]] = {
    "none": 0,
    "minimal": 1_024,
    "low": 1_024,
    "medium": 8_192,
    "high": 24_576,
}
"""`reasoning_effort` as a `thinkingBudget`, for Gemini 2.5."""

LEVELS: Final[Mapping[str, str]] = {
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
}
"""`reasoning_effort` as a `thinkingLevel`, for Gemini 3 and later; Pro models begin at LOW."""


def resource(model: str) -> str:
    """The model's resource name: `models/…` unless it says what it is."""
    return model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"


def path(model: str) -> str:
    """The resource name as a part of an address, percent-encoded."""
    kind, _, name = resource(model).partition("/")
    return f"{kind}/{quote(name, safe='')}"


def fetches_urls(model: str) -> bool:
    """Whether Gemini fetches https URLs for it: every model but those before 2.5 (docs/file-input-methods)."""
    version = _version(model)
    return version is None or version >= (2, 5)


def thinking(model: str, effort: str, param: str) -> dict[str, Any]:
    """The `thinkingConfig` that an effort amounts to.

    Raises:
        UntranslatableError: The model does not think so, or does not think.
    """
    version = _version(model)
    if version is None or version < (2, 5):
        raise UntranslatableError(
            param, f"cannot be told to '{model}': it is no model that is known to think"
        )
    is_pro = "-pro" in model
    if version < (3, 0):
        if effort not in BUDGETS_TOKENS or (effort == "none" and is_pro):
            raise UntranslatableError(param, f"'{effort}' cannot be told to '{model}'")
        return {"thinkingBudget": BUDGETS_TOKENS[effort]}
    if effort not in LEVELS:
        raise UntranslatableError(
            param, f"'{effort}' cannot be told to '{model}': give one of {_words(LEVELS)}"
        )
    return {"thinkingLevel": LEVELS["low" if effort == "minimal" and is_pro else effort]}


def _version(model: str) -> tuple[int, int] | None:
    """`gemini-…-latest` counts as the third generation; None where the name does not say."""
    found = _VERSION.search(model)
    if found is not None:
        return int(found[1]), int(found[2] or 0)
    return (3, 0) if _LATEST.search(model) else None


def _words(names: Mapping[str, str]) -> str:
    return ", ".join(names)
