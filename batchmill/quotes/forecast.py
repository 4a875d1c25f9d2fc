"""What an answer is expected to be like: by own experience, else by the catalogue, else by a rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from batchmill.money.bounds import Model

RULE_TOKENS = 500
"""Without experience an answer is expected to have half of the tokens that it may have, and at most so many."""
FEWEST_CALLS = 10
"""Fewer calls of a type are no experience with it; fewer of a model, none at all."""


class Basis(StrEnum):
    """What an expectation is based on."""

    HISTORY = "history"
    """The mean over own calls: of that model and request type, else of that model."""
    CATALOGUE = "catalogue"
    """The catalogue's estimate."""
    RULE = "rule"
    """Half of what is allowed, at most `RULE_TOKENS`."""
    NOTHING = "nothing"
    """Nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What own calls came to on average, and how many they were."""

    calls: int
    output_tokens: int
    latency_ms: int


Experiences = Mapping[tuple[str, str, str | None], Experience]
"""By provider, model and request type; None stands for all types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What to expect of an answer.

    Attributes:
        output_tokens: On average; None leaves it to the rule.
        latency_ms: On average; None when nobody knows.
    """

    output_tokens: int | None = None
    latency_ms: int | None = None
    latency_basis: Basis = Basis.NOTHING

    @property
    def output_basis(self) -> Basis:
        """What the output tokens are based on."""
        return Basis.RULE if self.output_tokens is None else Basis.HISTORY

    def expected_output(self, most_tokens: int, answers: int) -> int:
        """The output tokens to expect of a request that may give out so many, over so many answers."""
        if self.output_tokens is not None:
            return min(self.output_tokens, most_tokens)
        return min(most_tokens // 2, RULE_TOKENS * answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecaster:
    """Makes forecasts.

    Attributes:
        latencies_ms: The catalogue's estimates.
    """

    experiences: Experiences
    latencies_ms: Mapping[Model, int]

    def forecast(self, provider: str, model: str, request_type: str) -> Forecast:
        """What to expect of answers of that model to that type of request."""
        candidates = (self.experiences.get((provider, model, kind)) for kind in (request_type, None))
        experience = next((found for found in candidates if found and found.calls >= FEWEST_CALLS), None)
        if experience is not None:
            return Forecast(
                output_tokens=experience.output_tokens,
                latency_ms=experience.latency_ms,
                latency_basis=Basis.HISTORY,
            )
        latency_ms = self.latencies_ms.get((provider, model))
        basis = Basis.NOTHING if latency_ms is None else Basis.CATALOGUE
        return Forecast(latency_ms=latency_ms, latency_basis=basis)
