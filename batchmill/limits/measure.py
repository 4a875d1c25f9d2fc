"""Measure: how many tokens a call counts for where tokens are limited, before it leaves and after."""

from collections.abc import Mapping
from typing import Any

import orjson

from batchmill.limits.model import Demand
from batchmill.money.usage import Usage
from batchmill.providers.names import ProviderName
from batchmill.requests.model import Endpoint
from batchmill.tokens.count import count_request
from batchmill.tokens.most_output import answer_count, own_limit

UNBOUNDED_TOKENS = 16
"""Of an answer without a limit OpenAI counts so many; what it comes to in the end is nobody's business there."""

_COUNT_WHAT_COMES = frozenset({ProviderName.ANTHROPIC, ProviderName.GEMINI})
"""They count the answer as it comes, and input that they had in their cache not at all."""

NOTHING = Demand()


def planned(provider: str, model: str, endpoint: Endpoint, body: bytes, *, output_cap_tokens: int) -> Demand:
    """Return what a call counts for at its arrival; never raises.

    Args:
        output_cap_tokens: The longest answer where the request has no limit and the provider must be told one.
    """
    try:
        parsed: Mapping[str, Any] = orjson.loads(body)
        longest = own_limit(endpoint, parsed)
        if longest is None:
            longest = output_cap_tokens if provider == ProviderName.ANTHROPIC else UNBOUNDED_TOKENS
        return Demand(
            input_tokens=count_request(model, endpoint, parsed).tokens,
            output_tokens=longest * answer_count(endpoint, parsed) if _writes(endpoint) else 0,
        )
    except Exception:  # a body that is none: the provider will say so
        return Demand(input_tokens=len(body))


def counted(provider: str, demand: Demand, usage: Usage | None) -> Demand | None:
    """Return what a call has counted for, by its usage; None = as planned."""
    if usage is None:
        return None
    if provider in _COUNT_WHAT_COMES:
        return Demand(
            input_tokens=usage.input_tokens - usage.cached_tokens, output_tokens=usage.output_tokens
        )
    return Demand(input_tokens=usage.input_tokens, output_tokens=demand.output_tokens)


def counts_what_comes(provider: str) -> bool:
    """Whether a provider counts the answer as it comes: then none is too long for a limit beforehand."""
    return provider in _COUNT_WHAT_COMES


def _writes(endpoint: Endpoint) -> bool:
    return endpoint not in (Endpoint.EMBEDDINGS, Endpoint.MODERATIONS)
