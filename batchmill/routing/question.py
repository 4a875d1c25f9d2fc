"""A question: a request whose model is to be chosen, with all that the choice goes by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchmill.requests.model import Endpoint
from batchmill.routing.complexity import Assessment, assess
from batchmill.routing.needs import Needs, needs_of
from batchmill.routing.tiers import TierRule, tier_rule
from batchmill.routing.wants import NOTHING, Quality, Wants


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request whose model is to be chosen.

    Attributes:
        max_latency_ms: The longest that an answer may typically take; None = any time.
    """

    endpoint: Endpoint
    needs: Needs
    assessment: Assessment
    rule: TierRule
    max_latency_ms: int | None = None


def question_of(
    endpoint: Endpoint, body: Mapping[str, Any], *, request_type: str = "", wants: Wants = NOTHING
) -> Question:
    """Return the question that a request asks.

    Args:
        request_type: Its own, or its batch's.
        wants: Its own, and where they say nothing its batch's.
    """
    deep_reasoning = bool(wants.deep_reasoning)
    return Question(
        endpoint=endpoint,
        needs=needs_of(endpoint, body, deep_reasoning=deep_reasoning),
        assessment=assess(endpoint, body, override=wants.complexity),
        rule=tier_rule(
            request_type,
            wants_premium=wants.quality is Quality.PREMIUM,
            wants_deep_reasoning=deep_reasoning,
            user_tier=wants.user_tier,
        ),
        max_latency_ms=wants.max_latency_ms,
    )
